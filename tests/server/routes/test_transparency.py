"""`background: transparent`: kept where a picture has it, made where there is a matting model."""

import base64
import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from starlette.testclient import TestClient

from pipelines.core import Image, Job
from pipelines.registry import Registry
from server.app import create_app
from server.config import Config
from tests.server.checks import assert_error_shape, events_of
from tests.server.conftest import WEIGHTS
from tests.server.fakes import FakeFleet
from tests.server.pictures import file_of, left_half_clear, mask_file, noise, with_alpha

RGB = noise()
TOP_CLEAR = np.repeat(np.array([0, 255], np.uint8), 32)[:, None].repeat(96, axis=1)
STICKER = file_of(with_alpha(RGB, TOP_CLEAR))
"""Its upper half is transparent."""
MASK = mask_file(left_half_clear())
"""The left half is to be repainted."""


def green(job: Job) -> Image:
    """Green; where it is cut out, its right quarter is background."""
    pixels = np.zeros((job.height, job.width, 4), np.uint8)
    pixels[..., 1:4:2] = 255
    pixels[:, 3 * job.width // 4 :, 3] = 0
    channels = 4 if job.cutout else 3
    return Image(job.width, job.height, pixels[..., :channels].tobytes())


@pytest.fixture(autouse=True)
def paints_green(fleet: FakeFleet) -> None:
    fleet.outcome = green


@pytest.fixture
def cutting(
    config: Config, registry: Registry, fleet: FakeFleet, tmp_path: Path
) -> Iterator[TestClient]:
    """A server that has a matting model."""
    (tmp_path / "cutter").mkdir()
    (tmp_path / "cutter" / "config.json").write_text("{}")
    (tmp_path / "weights.yaml").write_text(f"{WEIGHTS}\nmatting: cutter\n")
    registry = Registry(tmp_path / "weights.yaml", tmp_path / "models")
    with TestClient(create_app(config, registry, fleet), "http://darkroom.test") as client:  # type: ignore[arg-type]
        yield client


def generate(client: TestClient, **more: Any) -> Any:
    body = {"model": "gpt-image-1", "prompt": "a star", "background": "transparent"}
    return client.post("/v1/images/generations", json=body | more)


def edit(client: TestClient, *files: tuple[str, bytes], **more: str) -> Any:
    form = {
        "model": "gpt-image-1",
        "prompt": "a star",
        "background": "transparent",
        "crop": "false",
    }
    return client.post("/v1/images/edits", files=list(files), data=form | more)


def opened(text: str) -> Pillow.Image:
    picture = Pillow.open(BytesIO(base64.b64decode(text)))
    picture.load()
    return picture


def rgba(response: Any) -> Any:
    assert response.status_code == 200, response.text
    body = response.json()
    assert body["background"] == "transparent"
    picture = opened(body["data"][0]["b64_json"])
    assert (picture.mode, picture.format.lower()) == ("RGBA", body["output_format"])
    return np.asarray(picture)


@pytest.mark.parametrize("output_format", ["png", "webp"])
def test_a_generation_is_cut_out(cutting: TestClient, fleet: FakeFleet, output_format: str) -> None:
    pixels = rgba(generate(cutting, output_format=output_format))
    assert pixels.shape == (1024, 1024, 4)
    assert (pixels[:, 860:, 3] == 0).all()
    assert (pixels[:, :600, 3] == 255).all() and (pixels[:, :600, 1] > 240).all()
    assert [job.cutout for job in fleet.jobs] == [True]


def test_what_is_not_asked_for_is_not_cut_out(cutting: TestClient, fleet: FakeFleet) -> None:
    for asked in ("auto", "opaque", None):
        body = generate(cutting, background=asked).json()
        assert body["background"] == "opaque"
        assert opened(body["data"][0]["b64_json"]).mode == "RGB"
    assert not any(job.cutout for job in fleet.jobs)


def test_a_stream_tells_it(cutting: TestClient) -> None:
    events = events_of(generate(cutting, stream=True, partial_images=1).text)
    assert [data["background"] for _, data in events] == ["transparent"] * 2
    assert opened(events[-1][1]["b64_json"]).mode == "RGBA"


def test_variations_are_cut_out(cutting: TestClient) -> None:
    form = {"model": "demo", "background": "transparent", "response_format": "b64_json"}
    answer = cutting.post("/v1/images/variations", files={"image": file_of(RGB)}, data=form)
    assert (np.asarray(opened(answer.json()["data"][0]["b64_json"]))[:, 84:, 3] == 0).all()


@pytest.mark.parametrize("asked", [{}, {"output_format": "webp"}])
def test_without_a_matting_model_it_is_refused(
    client: TestClient, fleet: FakeFleet, asked: dict[str, str]
) -> None:
    image = file_of(RGB)
    form = {"model": "demo", "background": "transparent"}
    for answer in (
        generate(client, **asked),
        client.post("/v1/images/variations", files={"image": image}, data=form | asked),
        edit(client, ("image", image), **asked),
        edit(client, ("image", image), ("mask", MASK), **asked),
        edit(client, ("image", STICKER), **asked),
    ):
        assert answer.status_code == 400
        error = assert_error_shape(answer)
        assert (error["param"], error["code"]) == ("background", "invalid_value")
        assert "not supported by this server" in error["message"]
        assert "darkroom pull matting" in error["message"]
    assert fleet.jobs == []


def test_a_jpeg_is_never_transparent(cutting: TestClient) -> None:
    for answer in (
        generate(cutting, output_format="jpeg"),
        edit(cutting, ("image", STICKER), ("mask", MASK), output_format="jpeg"),
    ):
        message = "Transparent background is not supported for JPEG output format"
        assert assert_error_shape(answer)["message"] == message


def test_with_a_mask_a_picture_keeps_its_transparency(client: TestClient, fleet: FakeFleet) -> None:
    pixels = rgba(edit(client, ("image", STICKER), ("mask", MASK)))
    assert (pixels[:, :48] == (0, 255, 0, 255)).all()
    assert (pixels[:32, 48:, 3] == 0).all()
    assert (pixels[32:, 48:, :3] == RGB[32:, 48:]).all() and (pixels[32:, 48:, 3] == 255).all()
    assert [job.cutout for job in fleet.jobs] == [False]


def test_a_mask_that_leaves_no_transparency_is_refused(client: TestClient) -> None:
    answer = edit(client, ("image", STICKER), ("mask", mask_file(TOP_CLEAR)))
    assert assert_error_shape(answer)["param"] == "background"


def test_what_is_repainted_is_cut_out_where_it_can_be(cutting: TestClient) -> None:
    """The job's right quarter is background; of it the left half of the picture shows nothing."""
    everywhere = mask_file(np.zeros((64, 96), np.uint8))
    pixels = rgba(edit(cutting, ("image", STICKER), ("mask", everywhere)))
    assert (pixels[:, 84:, 3] == 0).all() and (pixels[:, :60, 3] == 255).all()
    kept = rgba(edit(cutting, ("image", STICKER), ("mask", MASK)))
    assert (kept[:32, 48:, 3] == 0).all() and (kept[32:, 48:, :3] == RGB[32:, 48:]).all()
    whole = rgba(edit(cutting, ("image", file_of(RGB))))
    assert (whole[:, 84:, 3] == 0).all()


def test_without_transparent_an_edit_is_opaque(client: TestClient) -> None:
    answer = edit(client, ("image", STICKER), ("mask", MASK), background="auto")
    assert opened(json.loads(answer.text)["data"][0]["b64_json"]).mode == "RGB"
