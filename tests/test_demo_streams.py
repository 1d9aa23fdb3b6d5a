"""Streams of the demo model: what a client sees coming is what it gets."""

import base64
import json
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.server.checks import events_of

Event = tuple[str, dict[str, Any]]
PARTS = 2
COMMON = ["b64_json", "created_at"]
DESCRIPTION = ["size", "quality", "background", "output_format"]


@pytest.fixture(scope="module")
def client(plain_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{plain_url}/v1/images", trust_env=False, timeout=60) as client:
        yield client


def half_clear() -> bytes:
    """A white picture with a blue square on the right; its left half is to be repainted."""
    picture = Image.new("RGBA", (256, 256), "white")
    ImageDraw.Draw(picture).rectangle((160, 80, 230, 170), fill="blue")
    picture.paste((0, 0, 0, 0), (0, 0, 128, 256))
    file = BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def generation(client: httpx.Client, **more: Any) -> httpx.Response:
    asked = {"prompt": "a large red circle on a blue background", "size": "256x256"}
    return client.post("generations", json=asked | {"model": "demo", "seed": 1} | more)


def edit(client: httpx.Client, **more: Any) -> httpx.Response:
    asked = {"prompt": "a large green star on the left", "model": "demo", "seed": 1} | more
    form = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in asked.items()
    }
    return client.post("edits", data=form, files={"image": half_clear()})


def pixels(data: dict[str, Any]) -> Any:
    image = Image.open(BytesIO(base64.b64decode(data["b64_json"], validate=True)))
    return np.asarray(image.convert("RGB")).astype(float)


WAYS = pytest.mark.parametrize(
    ("ask", "name"), [(generation, "image_generation"), (edit, "image_edit")]
)


@WAYS
def test_partial_images_come_nearer_to_the_image_that_is_not_streamed(
    client: httpx.Client, ask: Any, name: str
) -> None:
    answer = ask(client, stream=True, partial_images=PARTS)
    assert answer.headers["content-type"] == "text/event-stream"
    events = events_of(answer.text)
    names = [*[f"{name}.partial_image"] * PARTS, f"{name}.completed"]
    assert [kind for kind, _ in events] == names == [data["type"] for _, data in events]
    *parts, done = [data for _, data in events]
    for index, part in enumerate(parts):
        assert list(part) == ["type", "partial_image_index", *COMMON, *DESCRIPTION]
        assert part["partial_image_index"] == index
    assert list(done) == ["type", *COMMON, "usage", *DESCRIPTION, "seed"]
    assert {data["size"] for _, data in events} == {"256x256"}

    (whole,) = ask(client, response_format="b64_json").json()["data"]
    assert done["b64_json"] == whole["b64_json"]
    final = pixels(done)
    far = [float(np.abs(pixels(part) - final).mean()) for part in parts]
    assert all(farther > nearer > 0 for farther, nearer in zip(far, far[1:], strict=False)), far


@WAYS
def test_each_of_n_streams_is_the_one_of_its_seed(
    client: httpx.Client, ask: Any, name: str
) -> None:
    events = events_of(ask(client, stream=True, partial_images=PARTS, n=3).text)
    whole = ask(client, n=3, response_format="b64_json").json()["data"]
    for index, expected in enumerate(whole):
        own = [(kind, data) for kind, data in events if data["index"] == index]
        assert [kind.rpartition(".")[2] for kind, _ in own] == [
            *["partial_image"] * PARTS, "completed",
        ]  # fmt: skip
        assert [data["partial_image_index"] for _, data in own[:-1]] == list(range(PARTS))
        assert own[-1][1]["seed"] == expected["seed"] == 1 + index
        assert np.abs(pixels(own[-1][1]) - pixels(expected)).max() <= 1
        far = [np.abs(pixels(data) - pixels(expected)).mean() for _, data in own[:-1]]
        assert far[0] > far[-1] > 0
    assert len(events) == 3 * (PARTS + 1)


def test_what_the_model_could_not_read_is_told_on_both_ways(client: httpx.Client) -> None:
    prompt = "a large red circle on a blue background, " * 90
    streamed, whole = (generation(client, prompt=prompt, stream=it) for it in (True, False))
    ((_, data),) = events_of(streamed.text)
    assert data["unread"] == {"prompt": 90 * 6 - 20}
    assert whole.headers["x-darkroom-unread"] == f"prompt={90 * 6 - 20}"
    assert "x-darkroom-unread" not in generation(client).headers
