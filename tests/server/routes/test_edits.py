"""`POST /v1/images/edits`, as a form and as JSON."""

import base64
import encodings
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from pipelines.core import Image, Job, UnsupportedTask
from pipelines.registry import Registry
from server.answering import editing
from server.answering.inbox import JSON_LIMIT
from server.app import create_app
from server.config import Config
from server.reading import uploads
from server.reading.form import MOST_BYTES, MOST_FILE_BYTES
from server.reading.uploads import Picture, Upload, decode
from tests.server.checks import assert_error_shape
from tests.server.fakes import FakeFleet
from tests.server.pictures import (
    file_of,
    left_half_clear,
    mask_file,
    noise,
    opened,
    with_alpha,
)

PATH = "/v1/images/edits"
REQUEST, USER = "invalid_request_error", "image_generation_user_error"
NO_MODEL = "The model 'gpt-5' does not exist. GET /v1/models lists every name that can be sent."

RGB = noise()
PLAIN = file_of(RGB)
CLEAR_LEFT = file_of(with_alpha(RGB, left_half_clear()))
MASK = mask_file(left_half_clear())

Part = tuple[str, Any]


def green(job: Job) -> Image:
    return Image(job.width, job.height, b"\0\xff\0" * (job.width * job.height))


@pytest.fixture(autouse=True)
def paints_green(fleet: FakeFleet) -> None:
    fleet.outcome = green


@pytest.fixture
def edit(client: TestClient) -> Any:
    """POST a form; `image` and the prompt are there unless they are given. A list is parts."""

    def post(*files: Part, model: str = "gpt-image-1", **texts: Any) -> Any:
        texts = {"prompt": "a green star", "model": model} | texts
        data = {name: text for name, text in texts.items() if text is not None}
        return client.post(PATH, files=list(files) or [("image", PLAIN)], data=data)

    return post


@pytest.fixture
def edit_json(client: TestClient) -> Any:
    def post(**body: Any) -> Any:
        sent = {"prompt": "a green star", "model": "gpt-image-1", "images": [url(PLAIN)]} | body
        return client.post(PATH, json={k: v for k, v in sent.items() if v is not ...})

    return post


def url(data: bytes, type: str = "image/png") -> dict[str, str]:
    return {"image_url": f"data:{type};base64,{base64.b64encode(data).decode()}"}


def image_of(response: Any, index: int = 0) -> Any:
    assert response.status_code == 200, response.text
    return opened(base64.b64decode(response.json()["data"][index]["b64_json"]))


def assert_left_repainted(pixels: Any) -> None:
    assert (pixels[:, 48:] == RGB[:, 48:]).all()
    assert (pixels[:, :48] == (0, 255, 0)).all()


def test_a_transparent_half_is_repainted_and_the_other_is_untouched(
    edit: Any, fleet: FakeFleet
) -> None:
    response = edit(("image", CLEAR_LEFT), n="2", seed="7")
    for index in (0, 1):
        assert_left_repainted(image_of(response, index))
    assert [(job.task, job.seed, job.prompt) for job in fleet.jobs] == [
        ("inpaint", 7, "a green star"),
        ("inpaint", 8, "a green star"),
    ]
    assert type(fleet.jobs[0].prompt) is str
    assert fleet.jobs[0].strength == 1
    body = response.json()
    assert (body["size"], body["background"], body["output_format"]) == ("96x64", "opaque", "png")
    assert body["data"][1]["seed"] == 8


@pytest.mark.parametrize(
    "files",
    [
        [("image", PLAIN), ("mask", MASK)],
        [("mask", MASK), ("image", PLAIN)],
        [("image[]", PLAIN), ("mask", MASK)],
        [("image[0]", PLAIN), ("mask", MASK)],
        [("image", ("日本.png", PLAIN, "image/png")), ("mask", ("m", MASK, "text/plain"))],
        [("image", ("blob", PLAIN, "application/octet-stream")), ("mask", MASK)],
        [("image", PLAIN), ("image", PLAIN), ("mask", MASK)],
        [("image[]", PLAIN), ("image[]", PLAIN), ("mask", MASK)],
        [("image", PLAIN), ("mask", MASK), ("image[]", PLAIN)],
    ],
)
def test_every_way_to_send_pictures(edit: Any, files: list[Part]) -> None:
    response = edit(*files)
    assert_left_repainted(image_of(response))
    several = sum(name != "mask" for name, _ in files) > 1
    assert response.headers.get("x-darkroom-ignored") == ("image[1]" if several else None)


def form(*parts: tuple[str, bytes], boundary: str = "frontier") -> bytes:
    lines = b""
    for disposition, data in parts:
        head = f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode()
        lines += head + data + b"\r\n"
    return lines + f"--{boundary}--\r\n".encode()


def post_raw(client: TestClient, content: Any, boundary: str = "frontier") -> Any:
    headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
    return client.post(PATH, content=content, headers=headers)


TEXTS = (('name="prompt"', b"a star"), ('name="model"', b"gpt-image-1"))


def declared(charset: str, data: bytes, name: str = "prompt") -> tuple[str, bytes]:
    return f'name="{name}"\r\nContent-Type: text/plain; charset={charset}', data


@pytest.mark.parametrize("model", ["gpt-image-1", "dall-e-2", "flux-schnell"])
def test_fields_left_empty_in_a_browser_count_as_absent(
    edit: Any, fleet: FakeFleet, model: str
) -> None:
    nothing = ("", b"", "application/octet-stream")
    names = ("n", "size", "seed", "quality", "user", "negative_prompt", "background", "stream")
    empty = dict.fromkeys(names if model == "gpt-image-1" else names[:3], "")
    files = [("image", CLEAR_LEFT), ("image[]", nothing), ("mask", nothing)]
    response = edit(*files, model=model, **empty)
    assert response.status_code == 200, response.text
    assert "x-darkroom-ignored" not in response.headers
    absent = edit(("image", CLEAR_LEFT), model=model)
    assert absent.json().keys() == response.json().keys()
    assert {(job.task, job.negative_prompt, job.width) for job in fleet.jobs} == {
        ("inpaint", None, fleet.jobs[0].width)
    }


def test_an_empty_field_without_a_file_name_is_no_file(client: TestClient) -> None:
    body = form(('name="image"; filename="a.png"', CLEAR_LEFT), ('name="mask"', b""), *TEXTS)
    assert_left_repainted(image_of(post_raw(client, body)))


def test_a_model_left_empty_is_the_default(edit: Any) -> None:
    assert list(edit(model="").json()["data"][0]) == ["url"]


@pytest.mark.parametrize(
    "filename",
    [
        "käfer.png".encode("latin-1"),
        "甲虫.png".encode("gbk"),
        "表ソ.png".encode("shift_jis"),
        "ソ".encode("shift_jis"),  # ends in a backslash
        "甲虫.png".encode(),
        b"\x80\x85\xff",
        b"C:\\photos\\a.png",
    ],
)
def test_the_bytes_of_a_file_name_do_not_matter(client: TestClient, filename: bytes) -> None:
    body = form(('name="image"; filename="@@"', CLEAR_LEFT), *TEXTS).replace(b"@@", filename)
    assert_left_repainted(image_of(post_raw(client, body)))


@pytest.mark.parametrize(
    ("charset", "data"),
    [
        ("utf-8", "Käfer „hier“".encode()),
        ("UTF-8", b"\xef\xbb\xbf" + "Käfer „hier“".encode()),
        ("us-ascii", "Käfer „hier“".encode()),  # by clients that always say so
        ("iso-8859-1", "Käfer „hier“".encode("cp1252")),
        ("windows-1252", "Käfer „hier“".encode("cp1252")),
        ('"utf-16"', "Käfer „hier“".encode("utf-16")),
    ],
)
def test_texts_are_decoded_by_their_declared_charset(
    client: TestClient, fleet: FakeFleet, charset: str, data: bytes
) -> None:
    image = ('name="image"; filename="a.png"', PLAIN)
    image_of(post_raw(client, form(image, declared(charset, data), TEXTS[1])))
    assert fleet.jobs[0].prompt == "Käfer „hier“"


def test_other_charsets(client: TestClient, fleet: FakeFleet) -> None:
    image, size = ('name="image"; filename="a.png"', PLAIN), declared("gbk", b"", "size")
    image_of(
        post_raw(client, form(image, declared("gb18030", "甲虫".encode("gbk")), TEXTS[1], size))
    )
    field = ('name="_charset_"', b"gbk"), ('name="prompt"', "甲虫".encode("gbk"))
    image_of(post_raw(client, form(image, *field, TEXTS[1])))
    assert [job.prompt for job in fleet.jobs] == ["甲虫", "甲虫"]


def test_no_charset_of_a_client_stays_in_memory(client: TestClient) -> None:
    image = ('name="image"; filename="a.png"', PLAIN)
    for charset in (f"utf{'-' * 9}8", "utf--8", "klingon", "x" * 1000):
        known = charset.startswith("utf")
        response = post_raw(client, form(image, declared(charset, b"a beetle"), TEXTS[1]))
        assert response.status_code == (200 if known else 400)
        assert charset not in encodings._cache  # type: ignore[attr-defined]


def test_large_pictures_wait_for_each_other_in_a_thread_of_their_own(
    edit: Any, fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are decoded and encoded in the meantime; a mask stays of its picture's size."""
    threads: list[str] = []

    def noted(upload: Upload) -> Picture:
        threads.append(threading.current_thread().name)
        return decode(upload)

    monkeypatch.setattr(editing, "decode", noted)
    response = edit(("image", PLAIN), ("mask", MASK))
    assert opened(base64.b64decode(response.json()["data"][0]["b64_json"])).shape == (64, 96, 3)
    monkeypatch.setattr(uploads, "WORKING_PIXELS", 96 * 64 // 2)
    pixels = image_of(edit(("image", PLAIN), ("mask", MASK)))
    assert pixels.shape == (32, 48, 3)
    assert (pixels[:, :23] == (0, 255, 0)).all() and (pixels[:, 25:] != (0, 255, 0)).any()
    assert [name.partition("_")[0] for name in threads] == ["encode"] * 2 + ["large"] * 2


def test_parts_in_any_order_in_chunks_of_any_size(client: TestClient) -> None:
    picture, mask = ('name="image"; filename="a.png"', PLAIN), ('name="mask"', MASK)
    for parts in ([picture, *TEXTS, mask], [mask, TEXTS[1], picture, TEXTS[0]]):
        body = form(*parts)
        for size in (7, 1000, 100_000):

            def chunks(body: bytes = body, size: int = size) -> Iterator[bytes]:
                return (body[at : at + size] for at in range(0, len(body), size))

            assert_left_repainted(image_of(post_raw(client, chunks())))


def test_json(edit_json: Any, fleet: FakeFleet) -> None:
    response = edit_json(images=[url(PLAIN)], mask=url(MASK, "image/webp"), n=1, user=None)
    assert_left_repainted(image_of(response))
    response = edit_json(images=[url(CLEAR_LEFT), url(PLAIN)])
    assert_left_repainted(image_of(response))
    assert response.headers["x-darkroom-ignored"] == "images[1]"
    percent = "data:image/png," + "".join(f"%{byte:02x}" for byte in CLEAR_LEFT)
    assert_left_repainted(image_of(edit_json(images=[{"image_url": percent, "file_id": None}])))


def test_without_transparency_the_whole_picture_is_remade(edit: Any, fleet: FakeFleet) -> None:
    pixels = image_of(edit(model="flux-schnell", response_format="b64_json"))
    assert (pixels == (0, 255, 0)).all() and pixels.shape == (64, 96, 3)
    (job,) = fleet.jobs
    assert (job.task, job.mask, job.strength) == ("img2img", None, 0.8)
    assert job.source and (job.source.width, job.source.height) == (job.width, job.height)


@pytest.mark.parametrize(
    ("texts", "strength", "steps"),
    [
        ({}, 0.8, 8),
        ({"input_fidelity": "low"}, 0.8, 8),
        ({"input_fidelity": "high"}, 0.6, 8),
        ({"strength": "0.5"}, 0.5, 8),
        ({"strength": "1"}, 1, 8),
        ({"strength": "0.05"}, 0.05, 20),
        ({"strength": "0.05", "steps": "100"}, 0.05, 100),
        ({"strength": "0"}, 1 / 500, 500),
        ({"steps": "1"}, 0.8, 2),
    ],
)
def test_strength(
    edit: Any, fleet: FakeFleet, texts: dict[str, str], strength: float, steps: int
) -> None:
    assert edit(**texts).status_code == 200
    (job,) = fleet.jobs
    assert (job.strength, job.steps) == (pytest.approx(strength), steps)
    assert int(job.steps * job.strength) >= 1


@pytest.mark.parametrize("steps", range(1, 60))
def test_there_is_always_a_step_to_run(edit: Any, fleet: FakeFleet, steps: int) -> None:
    edit(strength=str(1 / steps), steps=str(steps))
    (job,) = fleet.jobs
    assert int(job.steps * job.strength) >= 1
    assert job.steps - int(job.steps - job.steps * job.strength) >= 1


@pytest.mark.parametrize(
    ("files", "texts", "ignored"),
    [
        ([], {"crop": "true"}, "crop"),
        ([("image", CLEAR_LEFT)], {"crop": "true"}, None),
        ([("image", CLEAR_LEFT)], {"input_fidelity": "high"}, "input_fidelity"),
        ([], {"input_fidelity": "high", "strength": "0.3"}, "input_fidelity"),
        ([], {"user": "u", "moderation": "low"}, "moderation"),
        ([], {"model": "flux-schnell", "user": "u"}, "user"),
    ],
)
def test_what_changes_nothing_is_named(
    edit: Any, files: list[Part], texts: dict[str, str], ignored: str | None
) -> None:
    assert edit(*files, **texts).headers.get("x-darkroom-ignored") == ignored


def test_a_small_region_is_rendered_at_full_resolution(edit: Any, fleet: FakeFleet) -> None:
    rgb, alpha = noise(400, 400), np.full((400, 400), 255, np.uint8)
    alpha[40:60, 40:60] = 0
    files = [("image", file_of(rgb)), ("mask", mask_file(alpha))]
    for crop in ("true", "false"):
        pixels = image_of(edit(*files, crop=crop))
        untouched = np.ones((400, 400), bool)
        untouched[40:60, 40:60] = False
        assert (pixels[untouched] == rgb[untouched]).all()
        assert (pixels[40:60, 40:60] == (0, 255, 0)).all()
    cropped, whole = fleet.jobs
    assert cropped.mask and whole.mask
    assert np.mean(list(cropped.mask)) > 10 * np.mean(list(whole.mask))


@pytest.mark.parametrize(
    ("model", "size", "expected"),
    [
        ("gpt-image-1", None, (96, 64)),
        ("gpt-image-1", "auto", (96, 64)),
        ("gpt-image-1", "1024x1024", (1024, 1024)),
        ("flux-schnell", None, (96, 64)),
        ("flux-schnell", "100x80", (100, 80)),
        ("dall-e-2", None, (1024, 1024)),
        ("dall-e-2", "256x256", (256, 256)),
        ("gpt-image-2", "1024x1536", (1024, 1536)),
    ],
)
def test_sizes(
    edit: Any, client: TestClient, model: str, size: str | None, expected: tuple[int, int]
) -> None:
    (entry,) = edit(model=model, size=size).json()["data"]
    file = base64.b64decode(entry["b64_json"]) if "b64_json" in entry else None
    pixels = opened(file or client.get(entry["url"]).content)
    assert pixels.shape[1::-1] == expected


def test_output_formats(edit: Any) -> None:
    response = edit(output_format="webp", output_compression="40", quality="low")
    body = response.json()
    assert (body["output_format"], body["quality"]) == ("webp", "low")
    assert base64.b64decode(body["data"][0]["b64_json"])[8:12] == b"WEBP"


def test_streams(edit: Any) -> None:
    response = edit(("image", CLEAR_LEFT), stream="true", partial_images="1")
    assert response.headers["content-type"].startswith("text/event-stream")
    frames = [frame.split("\n") for frame in response.text.strip().split("\n\n")]
    assert [frame[0] for frame in frames] == [
        "event: image_edit.partial_image",
        "event: image_edit.completed",
    ]
    for _, data in frames:
        pixels = opened(base64.b64decode(json.loads(data.removeprefix("data: "))["b64_json"]))
        assert (pixels[:, 48:] == RGB[:, 48:]).all()


@pytest.mark.parametrize(
    ("texts", "shape"),
    [
        ({"model": None}, ["url"]),
        ({"model": None, "response_format": "b64_json"}, ["b64_json"]),
        ({"model": None, "input_fidelity": "high"}, ["b64_json"]),
        ({"model": "dall-e-2"}, ["url"]),
        ({"model": "flux-schnell"}, ["b64_json"]),
        ({"model": "flux-schnell", "response_format": "url"}, ["url"]),
        ({"model": None, "stream": "false"}, ["url"]),
        ({"model": "null", "n": "null", "size": "null", "seed": "null", "mask": "null"}, ["url"]),
    ],
)
def test_defaults_follow_the_family(edit: Any, texts: dict[str, Any], shape: list[str]) -> None:
    assert [list(entry) for entry in edit(**texts).json()["data"]] == [shape]


def test_without_a_model_json_is_for_gpt_image(edit_json: Any) -> None:
    assert list(edit_json(model=...).json()["data"][0]) == ["b64_json"]


SIXTEEN = [("image", PLAIN)] * 16
NOT_A_PICTURE = ("a.wav", b"RIFF\x24\0\0\0WAVEfmt ", "audio/wav")
HALF = PLAIN[: len(PLAIN) // 2]
UNDECODABLE = "Invalid image file or mode for image {}, please check your image file."

# Files and texts beside a good prompt; type, param and code of the refusal, and its words.
BAD: list[tuple[list[Part], dict[str, Any], str, str | None, str | None, str | None]] = [
    ([], {"prompt": None}, REQUEST, "prompt", "missing_required_parameter", None),
    ([], {"prompt": "null"}, REQUEST, "prompt", "missing_required_parameter", None),
    ([], {"prompt": ""}, REQUEST, "prompt", "empty_string", None),
    ([], {"prompt": "x" * 32001}, REQUEST, "prompt", "string_above_max_length", None),
    ([("mask", MASK)], {}, REQUEST, "image", "missing_required_parameter",
     "Missing required parameter: 'image'."),
    ([], {"n": "abc"}, REQUEST, "n", "invalid_type",
     "Invalid type for 'n': expected an integer, but got a string value that could not be "
     "converted into an integer."),
    ([], {"n": " "}, REQUEST, "n", "invalid_type", None),
    ([("image", ("", b"", "application/octet-stream"))], {}, REQUEST, "image",
     "missing_required_parameter", "Missing required parameter: 'image'."),
    ([], {"n": "1.0"}, REQUEST, "n", "invalid_type", None),
    ([], {"n": "9" * 5000}, REQUEST, "n", "invalid_type", None),
    ([], {"n": "0"}, REQUEST, "n", "integer_below_min_value", None),
    ([], {"n": "11"}, REQUEST, "n", "integer_above_max_value", None),
    ([], {"stream": "yes"}, REQUEST, "stream", "invalid_type", None),
    ([], {"crop": "2"}, REQUEST, "crop", "invalid_type", None),
    ([], {"strength": "much"}, REQUEST, "strength", "invalid_type", None),
    ([], {"strength": "nan"}, REQUEST, "strength", "invalid_type", None),
    ([], {"strength": "1.1"}, REQUEST, "strength", "decimal_above_max_value", None),
    ([], {"strength": "-0.1"}, REQUEST, "strength", "decimal_below_min_value", None),
    ([], {"quality": "ultra"}, REQUEST, "quality", "invalid_value", None),
    ([], {"size": "512x512"}, REQUEST, "size", "invalid_value", None),
    ([], {"size": "auto", "model": "dall-e-2"}, REQUEST, None, "invalid_size", None),
    ([], {"background": "transparent"}, REQUEST, "background", "invalid_value", None),
    ([], {"output_compression": "50"}, USER, "output_compression",
     "invalid_png_output_compression", None),
    ([], {"style": "vivid"}, REQUEST, "style", "unknown_parameter", None),
    ([], {"style": "vivid", "model": "dall-e-2"}, REQUEST, "style", "unknown_parameter", None),
    ([], {"input_fidelity": "high", "model": "dall-e-2"}, USER, "input_fidelity",
     "invalid_input_fidelity_model", None),
    ([], {"input_fidelity": "high", "model": "gpt-image-2"}, USER, "input_fidelity",
     "invalid_input_fidelity_model",
     "The model 'gpt-image-2' does not support the 'input_fidelity' parameter."),
    ([], {"input_fidelity": "middle"}, REQUEST, "input_fidelity", "invalid_value", None),
    ([], {"images": "x"}, REQUEST, "images", "invalid_value",
     "Unknown parameter: 'images'. For multipart/form-data use 'image' or 'image[]'."),
    ([], {"model": "dall-e-3"}, REQUEST, "model", "invalid_value",
     "The model 'dall-e-3' does not support image edits."),
    ([], {"model": "gpt-5"}, USER, "model", "invalid_value", NO_MODEL),
    ([], {"model": "only-absent"}, USER, "model", "model_not_installed", None),
    ([*SIXTEEN, ("image", PLAIN)], {}, REQUEST, "image", "array_above_max_length", None),
    ([*SIXTEEN, ("image[]", PLAIN)], {}, REQUEST, "image", "array_above_max_length", None),
    ([("image", PLAIN), ("mask", MASK), ("mask", MASK)], {}, REQUEST, "mask",
     "array_above_max_length", None),
    ([("image", NOT_A_PICTURE)], {}, REQUEST, "image", "unsupported_file_mimetype",
     "Invalid file 'image': unsupported mimetype ('audio/wav'). Supported file formats are "
     "'image/jpeg', 'image/png', and 'image/webp'."),
    ([("image[]", NOT_A_PICTURE)], {}, REQUEST, "image[0]", "unsupported_file_mimetype", None),
    ([("image", PLAIN), ("image", NOT_A_PICTURE)], {}, REQUEST, "image[1]",
     "unsupported_file_mimetype", None),
    ([("image", ("a.png", b"", "image/png"))], {}, REQUEST, "image",
     "unsupported_file_mimetype", None),
    ([("image", PLAIN), ("mask", NOT_A_PICTURE)], {}, REQUEST, "mask",
     "unsupported_file_mimetype", None),
    ([("image", HALF)], {}, USER, None, "invalid_image_file", UNDECODABLE.format(1)),
    ([("image[]", PLAIN), ("image[]", HALF)], {}, USER, None, "invalid_image_file",
     UNDECODABLE.format(2)),
    ([("image", PLAIN), ("mask", MASK[:100])], {}, USER, None, "invalid_image_file",
     "Invalid image file or mode for mask, please check your image file."),
    ([("image", PLAIN), ("mask", PLAIN)], {}, USER, "mask", "invalid_mask_image_format",
     "Invalid mask image format - mask image missing alpha channel"),
    ([("image", PLAIN), ("mask", mask_file(left_half_clear(64, 64)))], {}, USER, "mask",
     "invalid_mask_image_format", None),
    ([("image", PLAIN), ("mask", mask_file(np.full((64, 96), 255, np.uint8)))], {}, USER, "mask",
     "invalid_mask_image_format", None),
]  # fmt: skip


@pytest.mark.parametrize(("files", "texts", "type", "param", "code", "says"), BAD)
def test_bad_forms_are_refused_and_nothing_else_happens(
    edit: Any,
    fleet: FakeFleet,
    files: list[Part],
    texts: dict[str, Any],
    type: str,
    param: str | None,
    code: str | None,
    says: str | None,
) -> None:
    response = edit(*files, **texts)
    error = assert_error_shape(response)
    told = (response.status_code, error["type"], error["param"], error["code"])
    assert told == (400, type, param, code), error
    assert says is None or error["message"] == says
    assert response.headers["x-should-retry"] == "false"
    assert fleet.jobs == []


BAD_JSON: list[tuple[dict[str, Any], str, str | None, str | None]] = [
    ({"prompt": ...}, REQUEST, "prompt", "missing_required_parameter"),
    ({"images": ...}, REQUEST, "images", "missing_required_parameter"),
    ({"images": None}, REQUEST, "images", "missing_required_parameter"),
    ({"images": []}, REQUEST, "images", "empty_array"),
    ({"images": [url(PLAIN)] * 17}, REQUEST, "images", "array_above_max_length"),
    ({"images": "x"}, REQUEST, "images", "invalid_type"),
    ({"images": ["x"]}, REQUEST, "images[0]", "invalid_type"),
    ({"images": [None]}, REQUEST, "images[0]", "invalid_type"),
    ({"images": [{}]}, REQUEST, "images[0].image_url", "missing_required_parameter"),
    ({"images": [{"url": "x"}]}, REQUEST, "images[0].url", "unknown_parameter"),
    ({"images": [url(PLAIN) | {"file_id": "x"}]}, REQUEST, "images[0]", "invalid_value"),
    ({"images": [{"image_url": 1}]}, REQUEST, "images[0].image_url", "invalid_type"),
    ({"images": [{"image_url": {"url": "x"}}]}, REQUEST, "images[0].image_url", "invalid_type"),
    ({"images": [{"image_url": "x"}]}, REQUEST, "images[0].image_url", "invalid_value"),
    ({"images": [{"image_url": "file:///etc/passwd"}]}, REQUEST, "images[0].image_url",
     "invalid_value"),
    ({"images": [url(PLAIN), {"image_url": "https://example.org/a.png"}]}, REQUEST,
     "images[1].image_url", "invalid_value"),
    ({"images": [{"file_id": 7}]}, REQUEST, "images[0].file_id", "invalid_type"),
    ({"images": [{"file_id": "file-unheard"}]}, REQUEST, "images[0].file_id", "invalid_value"),
    ({"images": [url(b"RIFF....WAVE")]}, USER, "images[0].image_url", "invalid_image_file"),
    ({"images": [{"image_url": "data:image/png;base64,!!"}]}, USER, "images[0].image_url",
     "invalid_image_file"),
    ({"images": [{"image_url": "data:"}]}, USER, "images[0].image_url", "invalid_image_file"),
    ({"images": [url(PLAIN), url(HALF)]}, USER, "images[1].image_url", "invalid_image_file"),
    ({"mask": url(b"")}, USER, "mask.image_url", "invalid_image_file"),
    ({"mask": url(PLAIN)}, USER, "mask", "invalid_mask_image_format"),
    ({"mask": "x"}, REQUEST, "mask", "invalid_type"),
    ({"image": "x"}, REQUEST, "image", "invalid_value"),
    ({"n": "1"}, REQUEST, "n", "invalid_type"),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "type", "param", "code"), BAD_JSON)
def test_bad_json_is_refused_and_nothing_else_happens(
    edit_json: Any, fleet: FakeFleet, sent: dict[str, Any], type: str, param: str, code: str
) -> None:
    response = edit_json(**sent)
    error = assert_error_shape(response)
    told = (response.status_code, error["type"], error["param"], error["code"])
    assert told == (400, type, param, code), error
    assert fleet.jobs == []


def test_the_words_of_misplaced_parameters(edit_json: Any) -> None:
    assert edit_json(image="x").json()["error"]["message"] == (
        "Unknown parameter: 'image'. For application/json on /v1/images/edits, use 'images' "
        "(array)."
    )


def test_the_first_fault_is_told_in_the_order_of_the_contract(edit: Any) -> None:
    sent: dict[str, Any] = {"size": "1", "n": "0", "prompt": "", "unheard": "1", "model": "gpt-5"}
    files: list[Part] = [("mask", MASK)]
    repairs: list[dict[str, Any]] = [
        {"model": "gpt-image-1"}, {"unheard": None}, {"prompt": "a"}, {}, {"n": "1"},
    ]  # fmt: skip
    told = []
    for repair in repairs:
        told.append(edit(*files, **sent).json()["error"]["param"])
        sent |= repair
        if not repair or told[-1] == "image":
            files = [("image", PLAIN)]
    assert told == ["model", "unheard", "prompt", "image", "n"]


def parts(count: int) -> bytes:
    return form(*[(f'name="p{number}"', b"x") for number in range(count)])


# Bodies that are no good form: the boundary that is declared, the body, the answer.
MALFORMED: list[tuple[str, bytes, int, str]] = [
    ("frontier", b"", 400, "Unexpected end"),
    ("frontier", b"--frontier--\r\n", 400, "Missing required parameter"),
    ("frontier", form(*TEXTS)[:-10], 400, "Unexpected end"),
    ("frontier", form(('name="image"', PLAIN))[:300], 400, "Unexpected end"),
    ("other", form(*TEXTS), 400, "Unexpected end"),
    ("", form(*TEXTS), 400, "boundary"),
    ("x" * 10_000, form(*TEXTS, boundary="x" * 10_000), 400, "boundary"),
    ("frontier", parts(10_000), 400, "segment count"),
    ("frontier", parts(101), 400, "segment count"),
    ("frontier", form(('name="a"' + "; x=y" * 2000, b"")), 400, "header length"),
    ("frontier", form(("name=x\r\n" + "X-A: b\r\n" * 100, b"")), 400, "header count"),
    ("frontier", b"--frontier\r\nX: y\r\n\r\nz\r\n--frontier--", 400, "Content-Disposition"),
    ("frontier", b"--frontier\nContent-Disposition: form-data\n\nz", 400, "line break"),
    ("frontier", form(('name="prompt"', b"\xff\xfe")), 400, "expected a string, but got a file"),
    ("frontier", form(('name="\xff"', b"a")).replace(b"\xc3\xbf", b"\xff"), 400, "parameter: 'ÿ'"),
    ("frontier", form(declared("klingon", b"a")), 400, "'klingon' of the text 'prompt'"),
    ("frontier", form(declared("zlib", b"a")), 400, "'zlib' of the text 'prompt' is not known"),
    ("frontier", form(declared("idna", b"a")), 400, "'idna' of the text 'prompt' is not known"),
    ("frontier", form(declared("utf-8", b"\xff")), 400, "is not that of its bytes"),
    ("frontier", form(declared("x" * 2000, b"a")), 400, "is not known"),
    ("frontier", form(('name="images"', PLAIN)), 400, "use 'image' or 'image[]'"),
    ("frontier", form(*TEXTS, TEXTS[0]), 400, "'prompt' occurs twice"),
    ("frontier", form(('name=""', b"a")), 400, "Unknown parameter: ''"),
    ("frontier", form(('name="prompt"', b"x" * (1 << 20)), TEXTS[1]), 413, "too large"),
    ("frontier", form(('name="image"', b"\0" * (MOST_FILE_BYTES + 1))), 413, "50 MB"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("boundary", "body", "status", "says"), MALFORMED, ids=range(len(MALFORMED))
)
@pytest.mark.parametrize("chunked", [False, True])
def test_malformed_forms(
    client: TestClient,
    fleet: FakeFleet,
    boundary: str,
    body: bytes,
    status: int,
    says: str,
    chunked: bool,
) -> None:
    size = 65_536
    pieces = (body[at : at + size] for at in range(0, len(body), size))
    response = post_raw(client, pieces if chunked else body, boundary)
    error = assert_error_shape(response)
    assert response.status_code == status, error
    assert says in error["message"]
    assert response.headers["x-should-retry"] == "false"
    assert fleet.jobs == []


def test_what_is_known_to_be_too_large_is_not_read(client: TestClient) -> None:
    for content_type, limit in (
        ("multipart/form-data; boundary=x", MOST_BYTES),
        ("application/json", JSON_LIMIT),
    ):
        headers = {"content-type": content_type, "content-length": str(limit + 1)}
        response = client.post(PATH, content=b"--x", headers=headers)
        assert response.status_code == 413
        assert assert_error_shape(response)["code"] == "request_too_large"


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_other_content_types(client: TestClient, content_type: str) -> None:
    response = client.post(PATH, content=b"x", headers={"content-type": content_type})
    error = assert_error_shape(response)
    assert (response.status_code, error["code"]) == (400, "unsupported_content_type")
    assert "'multipart/form-data' or 'application/json'" in error["message"]


def test_a_key_is_asked_for_before_the_body_is_read(config: Config, registry: Registry) -> None:
    keys = config.data_dir.parent / "keys"
    keys.write_text("alice:secret\n")
    app = create_app(replace(config, api_keys=keys), registry, FakeFleet())
    with TestClient(app) as client:
        assert post_raw(client, b"not a form").status_code == 401


def test_nothing_stays_behind(edit: Any, config: Config) -> None:
    edit(("image", file_of(noise(300, 300))), n="0")
    edit(("image", file_of(noise(300, 300))))
    assert list((config.data_dir / "uploads").iterdir()) == []


def test_a_task_that_the_weights_cannot_do_is_no_servers_error(edit: Any, fleet: FakeFleet) -> None:
    """Only of pipelines that nobody knows at start: see `pipelines.families`."""
    fleet.outcome = lambda job: UnsupportedTask(job.task)
    response = edit(model="flux-schnell")
    error = assert_error_shape(response)
    assert (response.status_code, error["code"]) == (400, "invalid_value")
    assert "'img2img'" in error["message"] and response.headers["x-should-retry"] == "false"
