import base64
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from PIL import Image as Pillow
from starlette.testclient import TestClient

from pipelines.core import (
    DoesNotFit,
    Image,
    Job,
    JobCancelled,
    JobFailed,
    ModelUnavailable,
    NonFinite,
    WorkerLost,
)
from pipelines.registry import Registry
from server.app import create_app
from server.config import Config
from server.errors import Draining
from tests.server.checks import assert_common_headers, assert_error_shape
from tests.server.fakes import FakeFleet, picture

PATH = "/v1/images/generations"
TOO_LONG = "string_above_max_length"
REQUEST, USER = "invalid_request_error", "image_generation_user_error"


def opened(data: bytes) -> Pillow.Image:
    picture = Pillow.open(BytesIO(data))
    picture.load()
    return picture


# What is sent beside (or instead of) a good prompt, and the type, param and code of the refusal.
BAD: list[tuple[dict[str, Any], str, str | None, str | None]] = [
    ({"prompt": ""}, REQUEST, "prompt", "empty_string"),
    ({"prompt": None}, REQUEST, "prompt", "missing_required_parameter"),
    ({"prompt": 5}, REQUEST, "prompt", "invalid_type"),
    ({"prompt": ["a"]}, REQUEST, "prompt", "invalid_type"),
    ({"prompt": "x" * 1001}, REQUEST, "prompt", TOO_LONG),
    ({"prompt": "x" * 4001, "model": "dall-e-3"}, REQUEST, "prompt", TOO_LONG),
    ({"prompt": "x" * 32001, "model": "gpt-image-1"}, REQUEST, "prompt", TOO_LONG),
    ({"prompt": "x" * 32001, "model": "flux-schnell"}, REQUEST, "prompt", TOO_LONG),
    ({"n": 0}, REQUEST, "n", "integer_below_min_value"),
    ({"n": -1}, REQUEST, "n", "integer_below_min_value"),
    ({"n": 11}, REQUEST, "n", "integer_above_max_value"),
    ({"n": 10**30}, REQUEST, "n", "integer_above_max_value"),
    ({"n": 11, "model": "flux-schnell"}, REQUEST, "n", "integer_above_max_value"),
    ({"n": 2, "model": "dall-e-3"}, REQUEST, None, None),
    ({"n": 11, "model": "dall-e-3"}, REQUEST, None, None),
    ({"n": 0, "model": "dall-e-3"}, REQUEST, "n", "integer_below_min_value"),
    ({"n": 1.5}, REQUEST, "n", "invalid_type"),
    ({"n": "1"}, REQUEST, "n", "invalid_type"),
    ({"n": True}, REQUEST, "n", "invalid_type"),
    ({"n": [1]}, REQUEST, "n", "invalid_type"),
    *(
        ({"size": size, "model": model}, *refusal)
        for size in ("0x0", "1x1", "99999x99999", "1024", "abc", "")
        for model, refusal in {
            "dall-e-2": (REQUEST, None, "invalid_size"),
            "dall-e-3": (REQUEST, None, "invalid_size"),
            "gpt-image-1": (REQUEST, "size", "invalid_value"),
            "gpt-image-2": (USER, "size", "invalid_value"),
            "flux-schnell": (USER, "size", "invalid_value"),
        }.items()
    ),
    ({"size": "1792x1024"}, REQUEST, None, "invalid_size"),
    ({"size": "512x512", "model": "dall-e-3"}, REQUEST, None, "invalid_size"),
    ({"size": "512x512", "model": "gpt-image-1"}, REQUEST, "size", "invalid_value"),
    ({"size": "2049x64", "model": "flux-schnell"}, USER, "size", "invalid_value"),
    ({"size": 1024}, REQUEST, "size", "invalid_type"),
    ({"model": "gpt-5"}, USER, "model", "invalid_value"),
    ({"model": ""}, USER, "model", "invalid_value"),
    ({"model": "../demo"}, USER, "model", "invalid_value"),
    ({"model": 3}, REQUEST, "model", "invalid_type"),
    ({"model": "x" * 5000}, REQUEST, "model", TOO_LONG),
    ({"model": "only-absent"}, USER, "model", "model_not_installed"),
    ({"unheard": 1}, REQUEST, "unheard", "unknown_parameter"),
    ({"": 1}, REQUEST, "", "unknown_parameter"),
    ({"N": 1}, REQUEST, "N", "unknown_parameter"),
    ({"response_format": "png", "model": "gpt-image-1"}, REQUEST, "response_format",
     "invalid_value"),
    ({"style": "vivid", "model": "gpt-image-1"}, REQUEST, "style", "unknown_parameter"),
    ({"background": "opaque", "model": "dall-e-3"}, REQUEST, "background", "unknown_parameter"),
    ({"quality": "ultra", "model": "gpt-image-1"}, REQUEST, "quality", "invalid_value"),
    ({"quality": "hd"}, REQUEST, "quality", "invalid_value"),
    ({"quality": "xhigh", "model": "gpt-image-2"}, REQUEST, "quality", "invalid_value"),
    ({"quality": 1}, REQUEST, "quality", "invalid_type"),
    ({"style": "loud"}, REQUEST, "style", "invalid_value"),
    ({"style": {}}, REQUEST, "style", "invalid_type"),
    ({"response_format": "png"}, REQUEST, "response_format", "invalid_value"),
    ({"response_format": {"type": "b64_json"}}, REQUEST, "response_format", "invalid_type"),
    ({"output_format": "gif", "model": "gpt-image-1"}, REQUEST, "output_format", "invalid_value"),
    ({"output_compression": 101, "model": "gpt-image-1"}, REQUEST, "output_compression",
     "integer_above_max_value"),
    ({"output_compression": 50, "model": "gpt-image-1"}, USER, "output_compression",
     "invalid_png_output_compression"),
    ({"background": "transparent", "model": "gpt-image-1"}, REQUEST, "background", "invalid_value"),
    ({"background": "blue", "model": "gpt-image-1"}, REQUEST, "background", "invalid_value"),
    ({"moderation": "off", "model": "gpt-image-1"}, REQUEST, "moderation", "invalid_value"),
    ({"partial_images": 4, "model": "gpt-image-1"}, REQUEST, "partial_images",
     "integer_above_max_value"),
    ({"stream": True, "model": "dall-e-2"}, REQUEST, "stream", "unknown_parameter"),
    ({"stream": True, "model": "dall-e-3"}, REQUEST, "stream", "unknown_parameter"),
    ({"partial_images": 1, "model": "dall-e-3"}, REQUEST, "partial_images", "unknown_parameter"),
    ({"stream": "true"}, REQUEST, "stream", "invalid_type"),
    ({"stream": 1, "model": "gpt-image-1"}, REQUEST, "stream", "invalid_type"),
    ({"stream": True, "model": "gpt-image-1", "partial_images": -1}, REQUEST, "partial_images",
     "integer_below_min_value"),
    ({"stream": True, "model": "flux-schnell", "response_format": "url"}, REQUEST,
     "response_format", "invalid_value"),
    ({"safety_identifier": 1}, REQUEST, "safety_identifier", "invalid_type"),
    ({"seed": 2**64}, REQUEST, "seed", "integer_above_max_value"),
    ({"seed": -2}, REQUEST, "seed", "integer_below_min_value"),
    ({"seed": "7"}, REQUEST, "seed", "invalid_type"),
    ({"steps": 0}, REQUEST, "steps", "integer_below_min_value"),
    ({"steps": 501}, REQUEST, "steps", "integer_above_max_value"),
    ({"guidance_scale": -0.1}, REQUEST, "guidance_scale", "decimal_below_min_value"),
    ({"guidance_scale": 101}, REQUEST, "guidance_scale", "decimal_above_max_value"),
    ({"guidance_scale": "high"}, REQUEST, "guidance_scale", "invalid_type"),
    ({"negative_prompt": 1}, REQUEST, "negative_prompt", "invalid_type"),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "type", "param", "code"), BAD)
def test_bad_input_is_refused_and_nothing_else_happens(
    generate: Any, fleet: FakeFleet, sent: dict[str, Any], type: str, param: str, code: str
) -> None:
    response = generate(**sent)
    error = assert_error_shape(response)
    assert (response.status_code, error["type"], error["param"], error["code"]) == (
        400, type, param, code,
    )  # fmt: skip
    assert response.headers["x-should-retry"] == "false"
    assert fleet.jobs == []


# Bodies that are not a JSON object, and the words that tell why.
UNREADABLE: list[tuple[bytes, str]] = [
    (b"", "Expecting value"),
    (b"{", "Expecting property name"),
    (b'{"prompt": "a",}', "property name"),
    (b"prompt=a", "Expecting value"),
    (b'"prompt"', "not an object"),
    (b'[{"prompt": "a"}]', "not an object"),
    (b"null", "not an object"),
    (b'{"prompt": "a"} {}', "Extra data"),
    (b'{"prompt": "a", "prompt": "b"}', "a key occurs twice"),
    (b'{"prompt": "a", "guidance_scale": NaN}', "NaN"),
    (b'{"prompt": "a", "guidance_scale": -Infinity}', "-Infinity"),
    (b'{"prompt": "a", "n": ' + b"1" * 5000 + b"}", "JSON"),
    (b'{"prompt": "\\ud800"}', "not valid UTF-8"),
    (b'{"\\udc00": 1}', "not valid UTF-8"),
    (b'{"prompt": "\xff"}', "not valid UTF-8"),
    (b'\xef\xbb\xbf{"prompt": "a"}', "BOM"),
    ('{"prompt": "a"}'.encode("utf-16"), "not valid UTF-8"),
    (b'{"prompt": "a\nb"}', "control character"),
    (b'{"prompt":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
]


@pytest.mark.parametrize(("body", "says"), UNREADABLE)
def test_unreadable_bodies(client: TestClient, fleet: FakeFleet, body: bytes, says: str) -> None:
    response = client.post(PATH, content=body, headers={"content-type": "application/json"})
    error = assert_error_shape(response)
    assert response.status_code == 400
    assert (error["type"], error["param"], error["code"]) == (REQUEST, None, None)
    assert error["message"].startswith("We could not parse the JSON body of your request. (HINT: ")
    assert says in error["message"]
    assert fleet.jobs == []


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded",
     "application/jsonx"],
)  # fmt: skip
def test_other_content_types(client: TestClient, fleet: FakeFleet, content_type: str) -> None:
    headers = {"content-type": content_type}
    response = client.post(PATH, content=b'{"prompt": "a"}', headers=headers)
    error = assert_error_shape(response)
    assert (response.status_code, error["code"]) == (400, "unsupported_content_type")
    assert fleet.jobs == []


def test_a_charset_is_no_other_content_type(client: TestClient) -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert client.post(PATH, content=b'{"prompt": "a"}', headers=headers).status_code == 200


def test_a_large_body_is_413(client: TestClient, fleet: FakeFleet) -> None:
    def chunks() -> Any:
        for _ in range(3):
            yield b" " * 500_000

    for content in (b" " * ((1 << 20) + 1), chunks()):
        response = client.post(PATH, content=content, headers={"content-type": "application/json"})
        error = assert_error_shape(response)
        assert (response.status_code, error["code"]) == (413, "request_too_large")
    assert fleet.jobs == []


def test_the_longest_prompt_is_taken(generate: Any, fleet: FakeFleet) -> None:
    assert generate(model="gpt-image-1", prompt="é" * 32000).status_code == 200
    assert fleet.jobs[0].prompt == "é" * 32000


def test_dall_e_2_answers_with_urls_alone(generate: Any, client: TestClient) -> None:
    response = generate(model="dall-e-2", n=2, size="256x256")
    body = response.json()
    assert list(body) == ["created", "data"]
    assert [list(entry) for entry in body["data"]] == [["url"], ["url"]]
    for entry in body["data"]:
        assert entry["url"].startswith("http://darkroom.test/images/img-")
        assert opened(client.get(entry["url"]).content).size == (256, 256)


def test_dall_e_3_answers_with_the_prompt_it_used(generate: Any) -> None:
    body = generate(model="dall-e-3", size="1792x1024").json()
    assert [list(entry) for entry in body["data"]] == [["revised_prompt", "url"]]
    assert body["data"][0]["revised_prompt"] == "a red circle"


def test_b64_json_on_demand(generate: Any) -> None:
    body = generate(response_format="b64_json", size="512x512").json()
    assert [list(entry) for entry in body["data"]] == [["b64_json"]]
    assert opened(base64.b64decode(body["data"][0]["b64_json"], validate=True)).size == (512, 512)


def test_gpt_image_answers_in_its_own_shape(generate: Any) -> None:
    response = generate(model="gpt-image-1", quality="low", size="1536x1024")
    assert response.text.startswith('{\n  "created": ')
    assert not response.text.endswith("\n")
    body = response.json()
    assert list(body) == [
        "created", "background", "data", "output_format", "quality", "size", "usage",
    ]  # fmt: skip
    assert [list(entry) for entry in body["data"]] == [["b64_json"]]
    assert (body["background"], body["output_format"]) == ("opaque", "png")
    assert (body["quality"], body["size"]) == ("low", "1536x1024")
    assert body["usage"] == {
        "input_tokens": 3,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 3},
        "output_tokens": 408,
        "output_tokens_details": {"image_tokens": 408, "text_tokens": 0},
        "total_tokens": 411,
    }


def test_gpt_image_resolves_auto(generate: Any) -> None:
    auto = {"quality": "auto", "size": "auto", "background": "auto"}
    body = generate(model="gpt-image-2", n=2, **auto).json()
    assert (body["quality"], body["size"], body["background"]) == ("medium", "1024x1024", "opaque")
    assert body["usage"]["output_tokens"] == 2 * 1056


def test_gpt_image_formats(generate: Any) -> None:
    body = generate(model="gpt-image-1", output_format="webp", output_compression=30).json()
    assert body["output_format"] == "webp"
    assert opened(base64.b64decode(body["data"][0]["b64_json"])).format == "WEBP"


@pytest.mark.parametrize("asked", ["url", "b64_json"])
def test_gpt_image_answers_inline_whatever_format_is_asked_for(generate: Any, asked: str) -> None:
    response = generate(model="gpt-image-1", response_format=asked)
    assert [list(entry) for entry in response.json()["data"]] == [["b64_json"]]
    assert response.headers["x-darkroom-ignored"] == "response_format"


@pytest.mark.parametrize(
    ("model", "name", "value"),
    [
        ("gpt-image-1", "response_format", "b64_json"),
        ("gpt-image-2", "seed", 7),
        ("dall-e-2", "steps", 4),
        ("dall-e-3", "negative_prompt", "blur"),
    ],
)
def test_a_strict_server_refuses_what_the_original_refuses(
    config: Config, registry: Registry, fleet: FakeFleet, model: str, name: str, value: Any
) -> None:
    app = create_app(replace(config, strict=True), registry, fleet)  # type: ignore[arg-type]
    with TestClient(app) as client:
        asked = {"prompt": "a", "model": model}
        error = assert_error_shape(client.post(PATH, json=asked | {name: value}))
        assert (error["code"], error["param"]) == ("unknown_parameter", name)
        assert client.post(PATH, json=asked).status_code == 200
        own = {"prompt": "a", "model": "flux-schnell", "seed": 7, "response_format": "b64_json"}
        assert client.post(PATH, json=own).json()["data"][0]["seed"] == 7


def test_the_safety_identifier_comes_back(generate: Any) -> None:
    assert generate(model="gpt-image-1", safety_identifier="u7").json()["safety_identifier"] == "u7"


def test_a_jpeg_behind_a_link(generate: Any, client: TestClient) -> None:
    url = generate(model="flux-schnell", output_format="jpeg", size="100x80").json()["data"][0][
        "url"
    ]
    assert url.split("?")[0].endswith(".jpg")
    response = client.get(url)
    assert response.headers["content-type"] == "image/jpeg"
    assert opened(response.content).size == (100, 80)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"user": "u7"}, "u7"),
        ({"user": "u7", "safety_identifier": None}, "u7"),
        ({"user": "u7", "safety_identifier": ""}, "u7"),
        ({"user": "u7", "safety_identifier": "s"}, "s"),
        ({"user": ""}, None),
        ({"user": {"id": 7}}, None),
    ],
)
def test_a_user_is_the_safety_identifier_where_there_is_none(
    generate: Any, body: dict[str, Any], told: str | None
) -> None:
    response = generate(model="gpt-image-1", **body)
    assert response.json().get("safety_identifier") == told
    ignored = response.headers.get("x-darkroom-ignored")
    assert ignored == (None if told == "u7" else "user")
    elsewhere = generate(model="dall-e-2", user="u7")
    assert "safety_identifier" not in elsewhere.json()
    assert elsewhere.headers["x-darkroom-ignored"] == "user"


@pytest.mark.parametrize(
    ("body", "gpt_image"),
    [
        ({}, False),
        ({"style": "vivid"}, False),
        ({"stream": False}, False),
        ({"output_format": None}, False),
        ({"output_format": "webp"}, True),
        ({"background": "opaque"}, True),
        ({"moderation": "low"}, True),
        ({"output_format": "webp", "response_format": "b64_json", "seed": 1}, True),
    ],
)
def test_without_a_model_the_parameters_tell_the_family(
    generate: Any, body: dict[str, Any], gpt_image: bool
) -> None:
    response = generate(**body)
    assert response.status_code == 200
    assert ("output_format" in response.json()) == gpt_image


def test_a_stream_without_a_model(generate: Any) -> None:
    response = generate(stream=True, partial_images=1)
    assert "image_generation.completed" in response.text


def test_what_no_family_has_is_unknown_without_a_model(generate: Any) -> None:
    for body in ({"colour": 1}, {"style": "vivid", "output_format": "png"}):
        response = generate(**body)
        assert assert_error_shape(response)["code"] == "unknown_parameter"


@pytest.mark.parametrize("seed", [-1, 2**32, 2**63 - 1, 2**63, 2**64 - 1])
def test_seeds_of_64_bits(generate: Any, fleet: FakeFleet, seed: int) -> None:
    response = generate(seed=seed, size="256x256")
    (job,) = fleet.jobs
    assert job.seed == seed or (seed == -1 and 0 <= job.seed < 2**32)
    assert response.json()["data"][0]["seed"] == job.seed
    assert response.headers["x-darkroom-seeds"] == str(job.seed)


def test_headers_tell_model_seeds_and_what_was_ignored(generate: Any, fleet: FakeFleet) -> None:
    response = generate(model="flux-schnell", n=3, style="vivid", user="u", moderation="low")
    assert_common_headers(response)
    assert response.headers["x-darkroom-model"] == "demo"
    assert response.headers["x-darkroom-seeds"] == ",".join(str(job.seed) for job in fleet.jobs)
    assert response.headers["x-darkroom-ignored"] == "style,user,moderation"


def test_nothing_ignored_no_header(generate: Any) -> None:
    assert "x-darkroom-ignored" not in generate(quality="standard").headers


def test_a_negative_prompt_without_guidance_is_named(generate: Any) -> None:
    response = generate(negative_prompt="blur", guidance_scale=0)
    assert response.headers["x-darkroom-ignored"] == "negative_prompt"


def test_what_a_model_could_not_read_is_told(generate: Any, fleet: FakeFleet) -> None:
    assert "x-darkroom-unread" not in generate().headers
    unread = {"prompt": 37, "negative_prompt": 4}
    fleet.outcome = lambda job: replace(picture(job), unread=unread)
    response = generate(n=2)
    assert response.headers["x-darkroom-unread"] == "prompt=37,negative_prompt=4"
    assert "unread" not in response.text


@pytest.mark.parametrize("model", ["dall-e-2", "dall-e-3", "gpt-image-1", "flux-schnell"])
def test_seeds_are_in_the_data_when_an_extension_was_used(generate: Any, model: str) -> None:
    assert "seed" not in generate(model=model).json()["data"][0]
    assert generate(model=model, seed=7).json()["data"][0]["seed"] == 7
    assert "seed" in generate(model=model, steps=3).json()["data"][0]


def test_the_same_seed_gives_the_same_file(generate: Any) -> None:
    first, second, other = (
        generate(response_format="b64_json", seed=seed).json()["data"] for seed in (7, 7, 8)
    )
    assert first == second
    assert first[0]["b64_json"] != other[0]["b64_json"]


def test_the_png_says_how_it_was_made(generate: Any) -> None:
    body = generate(
        response_format="b64_json", seed=7, steps=3, prompt="ein rötlicher Kreis"
    ).json()
    text = opened(base64.b64decode(body["data"][0]["b64_json"])).text  # type: ignore[attr-defined]
    assert text["prompt"] == "ein rötlicher Kreis"
    assert (text["seed"], text["steps"], text["model"]) == ("7", "3", "demo")


@pytest.mark.parametrize(
    ("failure", "status", "code", "retry"),
    [
        (JobFailed("CUDA at /root/x.py"), 500, None, False),
        (DoesNotFit(512, 512), 500, "insufficient_memory", False),
        (NonFinite("decoder of the model 'x'", "Use float32."), 500, "non_finite_values", False),
        (WorkerLost(), 500, None, False),
        (ModelUnavailable("/root/weights"), 503, "model_unavailable", False),
        (JobCancelled(), 503, "server_is_overloaded", True),
        (RuntimeError("/root/secret"), 500, None, True),
    ],
)
def test_failed_jobs(
    generate: Any, fleet: FakeFleet, failure: Exception, status: int, code: str, retry: bool
) -> None:
    fleet.outcome = lambda job: failure
    response = generate()
    error = assert_error_shape(response)
    assert (response.status_code, error["code"]) == (status, code)
    assert ("x-should-retry" not in response.headers) == retry
    assert "/root" not in response.text


def test_when_one_job_fails_the_others_are_cancelled(generate: Any, fleet: FakeFleet) -> None:
    fleet.delay_s = None
    submit = fleet.submit

    def fail_the_second(jobs: list[Job], **how: Any) -> Any:
        futures = submit(jobs, **how)
        futures[1].get_loop().call_later(0.01, futures[1].set_exception, JobFailed("no"))
        return futures

    fleet.submit = fail_the_second  # type: ignore[method-assign,assignment]
    assert generate(n=3).status_code == 500
    assert [future.cancelled() for future in fleet.futures] == [True, False, True]


def test_a_full_queue_is_429(generate: Any, fleet: FakeFleet) -> None:
    fleet.room = 1
    response = generate(n=2)
    error = assert_error_shape(response)
    assert (response.status_code, error["code"]) == (429, "rate_limit_exceeded")
    assert error["type"] == "requests"
    assert response.headers["retry-after"] == "8"
    assert "x-should-retry" not in response.headers
    assert generate(n=1).status_code == 200


def test_more_than_the_queue_can_ever_hold_is_not_put_off(
    config: Config, registry: Registry, fleet: FakeFleet
) -> None:
    app = create_app(replace(config, max_queue=2), registry, fleet)  # type: ignore[arg-type]
    with TestClient(app) as client:
        response = client.post(PATH, json={"prompt": "a", "n": 3})
        assert assert_error_shape(response)["code"] == "integer_above_max_value"
        assert client.post(PATH, json={"prompt": "a", "n": 2}).status_code == 200


def test_a_draining_server_is_503(
    generate: Any, fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(jobs: list[Job], **how: Any) -> Any:
        raise Draining

    monkeypatch.setattr(fleet, "submit", refuse)
    response = generate()
    assert assert_error_shape(response)["code"] == "server_is_overloaded"
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) >= 1


def test_an_image_that_cannot_be_stored_is_a_clean_500(
    generate: Any, fleet: FakeFleet, config: Any
) -> None:
    (config.data_dir / "images").rmdir()
    response = generate()
    error = assert_error_shape(response)
    assert (response.status_code, error["type"]) == (500, "server_error")
    assert str(config.data_dir) not in response.text


def test_pixels_of_the_wrong_length_are_a_500(generate: Any, fleet: FakeFleet) -> None:
    fleet.outcome = lambda job: Image(job.width, job.height, b"short")
    assert assert_error_shape(generate())["type"] == "server_error"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_other_methods(client: TestClient, method: str) -> None:
    response = client.request(method, PATH)
    error = assert_error_shape(response)
    assert (response.status_code, error["code"]) == (405, "method_not_supported")
    assert error["message"] == "Only POST requests are accepted."
    assert response.headers["allow"] == "POST, OPTIONS"


@pytest.mark.parametrize("path", ["/nowhere", "/v1/images/edit", "/redoc", "/v1/images"])
def test_unknown_paths(client: TestClient, path: str) -> None:
    response = client.post(path, json={})
    error = assert_error_shape(response)
    assert response.status_code == 404
    assert error["message"].startswith(f"Invalid URL (POST {path}): ")
    assert (error["type"], error["code"]) == (REQUEST, None)
