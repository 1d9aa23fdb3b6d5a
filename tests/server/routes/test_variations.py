"""`POST /v1/images/variations`."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.server.checks import assert_error_shape
from tests.server.fakes import FakeFleet
from tests.server.pictures import file_of, left_half_clear, noise, opened, with_alpha

PATH = "/v1/images/variations"
REQUEST, USER = "invalid_request_error", "image_generation_user_error"
PLAIN = file_of(noise())


@pytest.fixture
def vary(client: TestClient) -> Any:
    """POST a form; `image` is there unless there are other files."""

    def post(*files: Any, **texts: str) -> Any:
        return client.post(PATH, files=list(files) or [("image", PLAIN)], data=texts)

    return post


def test_n_images_around_one_with_n_seeds(vary: Any, fleet: FakeFleet, client: TestClient) -> None:
    response = vary(n="3", size="256x256", user="u")
    body = response.json()
    assert [list(entry) for entry in body["data"]] == [["url"]] * 3
    files = [client.get(entry["url"]).content for entry in body["data"]]
    assert len(set(files)) == 3
    assert all(opened(file).shape == (256, 256, 3) for file in files)
    assert response.headers["x-darkroom-ignored"] == "user"
    first = fleet.jobs[0]
    assert (first.task, first.prompt, first.mask, first.strength) == ("img2img", "", None, 0.6)
    assert len({job.seed for job in fleet.jobs}) == 3
    assert {job.source.pixels for job in fleet.jobs if job.source} == {
        first.source and first.source.pixels
    }


def test_extensions(vary: Any, fleet: FakeFleet) -> None:
    asked = {"seed": "7", "steps": "3", "guidance_scale": "2.5", "strength": "0.9"}
    response = vary(n="2", negative_prompt="blur", **asked)
    assert [entry["seed"] for entry in response.json()["data"]] == [7, 8]
    job = fleet.jobs[1]
    assert (job.seed, job.steps, job.guidance_scale, job.strength) == (8, 3, 2.5, 0.9)
    assert job.negative_prompt == "blur"


def test_an_open_name_keeps_the_size_of_the_picture(vary: Any, client: TestClient) -> None:
    response = vary(model="flux-schnell", output_format="jpeg", output_compression="80")
    (entry,) = response.json()["data"]
    assert entry["url"].partition("?")[0].endswith(".jpg")
    assert opened(client.get(entry["url"]).content).shape == (64, 96, 3)


def test_transparency_is_no_mask_here(vary: Any, fleet: FakeFleet) -> None:
    assert vary(("image", file_of(with_alpha(noise(), left_half_clear())))).status_code == 200
    assert fleet.jobs[0].task == "img2img"


BAD: list[tuple[list[Any], dict[str, str], str, str | None, str]] = [
    ([("other", b"x")], {}, REQUEST, "other", "unknown_parameter"),
    ([("image", PLAIN), ("image", PLAIN)], {}, REQUEST, "image", "array_above_max_length"),
    ([("image", b"hello")], {}, REQUEST, "image", "unsupported_file_mimetype"),
    ([("image", PLAIN[:99])], {}, USER, None, "invalid_image_file"),
    ([("image", PLAIN), ("mask", PLAIN)], {}, REQUEST, "mask", "unknown_parameter"),
    ([], {"prompt": "a"}, REQUEST, "prompt", "unknown_parameter"),
    ([], {"quality": "standard"}, REQUEST, "quality", "unknown_parameter"),
    ([], {"crop": "true"}, REQUEST, "crop", "unknown_parameter"),
    ([], {"stream": "true", "model": "flux-schnell"}, REQUEST, "stream", "unknown_parameter"),
    ([], {"n": "0"}, REQUEST, "n", "integer_below_min_value"),
    ([], {"size": "100x100"}, REQUEST, None, "invalid_size"),
    ([], {"model": "dall-e-3"}, REQUEST, "model", "invalid_value"),
    ([], {"model": "gpt-image-1"}, REQUEST, "model", "invalid_value"),
    ([], {"response_format": "png"}, REQUEST, "response_format", "invalid_value"),
]  # fmt: skip


@pytest.mark.parametrize(("files", "texts", "type", "param", "code"), BAD)
def test_bad_input_is_refused_and_nothing_else_happens(
    vary: Any,
    fleet: FakeFleet,
    files: list[Any],
    texts: dict[str, str],
    type: str,
    param: str | None,
    code: str,
) -> None:
    response = vary(*files, **texts)
    error = assert_error_shape(response)
    told = (response.status_code, error["type"], error["param"], error["code"])
    assert told == (400, type, param, code), error
    assert fleet.jobs == []


def test_a_picture_is_needed(client: TestClient) -> None:
    response = client.post(PATH, files={"n": (None, "1")})
    assert response.json()["error"]["message"] == "Missing required parameter: 'image'."


def test_it_takes_forms_alone(client: TestClient) -> None:
    response = client.post(PATH, json={"image": "x"})
    assert response.json()["error"]["code"] == "unsupported_content_type"
