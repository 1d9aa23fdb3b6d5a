"""A lane alone: parked, resumed, failed, and what it may not do to its thread."""

from collections.abc import Callable

import pytest
import torch

from pipelines.core import Image, Job, JobCancelled
from pipelines.lanes.lanes import Lane, current_lane, fork
from pipelines.models.loader import Resident

JOB = Job(id="1", model="m", prompt="p", width=8, height=8, seed=0, steps=3, guidance_scale=1.0)
IMAGE = Image(1, 1, b"rgb")


def lane(body: Callable[[Lane], Image]) -> Lane:
    return Lane(JOB, body, arrived=0.0)


def test_it_parks_with_a_call_and_goes_on_with_the_answer() -> None:
    heard = []

    def body(lane: Lane) -> Image:
        assert current_lane() is lane
        heard.append(lane.park("question"))  # type: ignore[arg-type]
        return IMAGE

    one = lane(body)
    one.resume()
    assert (one.parked, one.ended) == ("question", False)
    one.resume("answer")
    assert (one.parked, one.ended, one.image, heard) == (None, True, IMAGE, ["answer"])
    assert current_lane() is None


def test_a_failure_stays_in_the_lane() -> None:
    def body(lane: Lane) -> Image:
        raise KeyError("inside")

    one = lane(body)
    one.resume()
    assert one.ended
    assert isinstance(one.failure, KeyError)


def test_failing_a_parked_lane_unwinds_its_pipeline() -> None:
    unwound = []

    def body(lane: Lane) -> Image:
        try:
            lane.park("question")  # type: ignore[arg-type]
        finally:
            unwound.append(True)
        return IMAGE

    one = lane(body)
    one.resume()
    one.fail(JobCancelled())
    assert one.ended
    assert isinstance(one.failure, JobCancelled)
    assert unwound == [True]


def test_a_lane_that_has_not_begun_never_does() -> None:
    one = lane(lambda lane: IMAGE)
    one.fail(JobCancelled())
    assert one.ended
    assert one.image is None


def test_a_lane_that_parks_with_another_grad_mode_is_found_out() -> None:
    def body(lane: Lane) -> Image:
        with torch.enable_grad():
            lane.park("question")  # type: ignore[arg-type]
        return IMAGE

    try:
        with pytest.raises(RuntimeError, match="thread state"):
            lane(body).resume()
    finally:
        torch.set_grad_enabled(False)


def test_a_fork_shares_weights_and_nothing_that_changes(residents: dict[str, Resident]) -> None:
    pipe = residents["sdxl"].pipe
    mine, other = fork(pipe), fork(pipe)
    assert mine.unet is pipe.unet
    mine.scheduler.set_timesteps(7)
    mine._guidance_scale = "mine"
    assert other.scheduler.num_inference_steps != 7
    assert getattr(other, "_guidance_scale", None) != "mine"
