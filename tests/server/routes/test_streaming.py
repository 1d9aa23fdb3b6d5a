"""`stream: true` over HTTP, beside everything else that a request can say."""

import base64
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from PIL import Image as Pillow

from server.answering.delivery import ANSWER_WITHIN_S
from server.errors import QueueFull
from tests.server.checks import assert_common_headers, assert_error_shape, events_of
from tests.server.fakes import FakeFleet, picture


def opened(data: dict[str, Any]) -> Pillow.Image:
    picture = Pillow.open(BytesIO(base64.b64decode(data["b64_json"], validate=True)))
    picture.load()
    return picture


@pytest.mark.parametrize("model", ["gpt-image-1", "gpt-image-2", "flux-schnell", "demo"])
def test_a_stream(generate: Any, fleet: FakeFleet, model: str) -> None:
    response = generate(model=model, stream=True, partial_images=2, output_format="jpeg")
    assert response.status_code == 200
    assert_common_headers(response)
    assert response.headers["content-type"] == "text/event-stream"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-accel-buffering"] == "no"
    assert response.headers["x-darkroom-model"] == "demo"
    assert response.headers["x-darkroom-seeds"] == str(fleet.jobs[0].seed)
    assert "x-darkroom-ignored" not in response.headers
    assert "content-length" not in response.headers
    events = events_of(response.text)
    assert [name for name, _ in events] == [
        "image_generation.partial_image", "image_generation.partial_image",
        "image_generation.completed",
    ]  # fmt: skip
    pictures = [opened(data) for _, data in events]
    assert {(picture.format, picture.size) for picture in pictures} == {("JPEG", (1024, 1024))}
    assert len({picture.tobytes() for picture in pictures}) == 3


def test_without_partial_images_there_is_one_event(generate: Any) -> None:
    for asked in ({}, {"partial_images": 0}, {"partial_images": None}):
        events = events_of(generate(model="gpt-image-1", stream=True, **asked).text)
        assert [name for name, _ in events] == ["image_generation.completed"]


def test_the_streamed_image_is_the_one_that_is_not_streamed(generate: Any) -> None:
    asked = {"model": "flux-schnell", "seed": 7, "size": "100x80", "response_format": "b64_json"}
    ((_, streamed),) = events_of(generate(stream=True, **asked).text)
    (entry,) = generate(stream=False, **asked).json()["data"]
    assert (streamed["b64_json"], streamed["seed"]) == (entry["b64_json"], entry["seed"])


def test_n_images_are_told_apart(generate: Any, fleet: FakeFleet) -> None:
    response = generate(model="gpt-image-1", stream=True, n=3, partial_images=1, seed=5)
    events = events_of(response.text)
    done = {data["index"]: data for name, data in events if name.endswith(".completed")}
    parts = [data["index"] for name, data in events if name.endswith(".partial_image")]
    assert sorted(parts) == [0, 1, 2]
    assert [done[index]["seed"] for index in range(3)] == [5, 6, 7]
    assert len({data["b64_json"] for data in done.values()}) == 3
    assert response.headers["x-darkroom-seeds"] == "5,6,7"


def test_the_last_frame_is_the_end(generate: Any) -> None:
    text = generate(model="gpt-image-1", stream=True).text
    assert text.endswith("}\n\n")
    assert "[DONE]" not in text


def test_what_changes_nothing_is_named(generate: Any) -> None:
    asked = {"model": "flux-schnell", "partial_images": 2, "user": "u"}
    assert generate(**asked).headers["x-darkroom-ignored"] == "partial_images,user"
    assert generate(stream=True, **asked).headers["x-darkroom-ignored"] == "user"


def test_what_a_model_could_not_read_is_told_with_the_image(
    generate: Any, fleet: FakeFleet
) -> None:
    fleet.outcome = lambda job: replace(picture(job), unread={"prompt": 37} if job.seed else {})
    response = generate(model="gpt-image-1", stream=True, n=2, seed=0)
    assert "x-darkroom-unread" not in response.headers
    told = {data["index"]: data.get("unread") for _, data in events_of(response.text)}
    assert told == {0: None, 1: {"prompt": 37}}


def test_no_previews_are_made_for_an_answer_that_shows_none(
    generate: Any, fleet: FakeFleet
) -> None:
    generate(model="gpt-image-1", partial_images=3)
    generate(model="gpt-image-1", partial_images=3, stream=True)
    assert [job.previews for job in fleet.jobs] == [0, 3]


def test_dall_e_may_say_that_it_does_not_stream(generate: Any) -> None:
    for model in ("dall-e-2", "dall-e-3"):
        assert generate(model=model, stream=False).status_code == 200


def test_a_full_queue_is_told_before_the_stream_begins(generate: Any, fleet: FakeFleet) -> None:
    fleet.room = 0
    response = generate(model="gpt-image-1", stream=True)
    assert (response.status_code, assert_error_shape(response)["code"]) == (
        429, "rate_limit_exceeded",
    )  # fmt: skip
    assert response.headers["retry-after"] == "8"


def test_only_an_answer_without_early_headers_is_refused_for_taking_long(
    generate: Any, fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = fleet.submit

    def slow(jobs: Any, within_s: float = float("inf"), **told: Any) -> Any:
        if within_s < 1000:
            raise QueueFull(12.5)
        return submit(jobs, within_s=within_s, **told)

    monkeypatch.setattr(fleet, "submit", slow)
    response = generate(model="gpt-image-1")
    assert (response.status_code, response.headers["retry-after"]) == (429, "13")
    assert "x-should-retry" not in response.headers
    assert generate(model="gpt-image-1", stream=True).status_code == 200


def test_nodes_fetch_is_answered_before_it_gives_up(generate: Any, fleet: FakeFleet) -> None:
    generate()
    assert fleet.within_s == ANSWER_WITHIN_S < 300
