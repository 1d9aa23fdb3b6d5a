"""When a pass does not fit: halves, then other models go, then tiles, and only then the one job."""

import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from pipelines import render
from pipelines.core import DoesNotFit, Image, Job, JobFailed
from pipelines.lanes.joins import Stage
from pipelines.lanes.rendezvous import Rendezvous
from pipelines.models.loader import Resident
from pipelines.scheduling.trouble import DeviceLost
from tests.pipelines.conftest import Rig

Jobs = Callable[[str], list[Job]]
Plain = Callable[[Job], np.ndarray]


def meeting(resident: Resident, stage: Stage) -> Rendezvous:
    return next(one for one in resident.meetings if one.join.stage is stage)


class Scarce:
    """A module's method with little memory: it raises unless `fits` says that a call fits."""

    def __init__(self, method: Callable[..., Any], fits: Callable[[dict[str, Any]], bool]) -> None:
        self._method, self._fits = method, fits
        self.rows = list[int]()

    def __call__(self, **arguments: Any) -> Any:
        self.rows.append(len(next(v for v in arguments.values() if torch.is_tensor(v))))
        if not self._fits(arguments):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB")
        return self._method(**arguments)


@pytest.fixture
def scarce(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Scarce]:
    def make(where: Rendezvous, fits: Callable[[dict[str, Any]], bool]) -> Scarce:
        method = Scarce(where._method, fits)
        monkeypatch.setattr(where, "_method", method)
        return method

    return make


def same(rig: Rig, job: Job, truth: np.ndarray) -> bool:
    return bool(np.abs(rig.pixels(job) - truth).max() <= 1)


def test_more_rows_than_fit_are_made_in_halves_and_not_tried_again(
    rig: Rig, jobs: Jobs, plain: Plain, residents: dict[str, Resident], scarce: Any
) -> None:
    first = jobs("flux")[0]
    company = [replace(first, id=str(n), seed=n, steps=6) for n in range(6)]
    truth = [plain(job) for job in company]
    denoiser = meeting(residents["flux"], Stage.DENOISE)
    method = scarce(denoiser, lambda arguments: len(arguments["hidden_states"]) <= 4)
    rig.run(*company)
    assert all(same(rig, job, image) for job, image in zip(company, truth, strict=True))
    assert max(method.rows) > 4, "nothing was too large, so nothing was shown"
    assert sum(rows > 4 for rows in method.rows) <= 2, "what did not fit was tried again"


def test_a_row_that_does_not_fit_gets_the_room_of_idle_models(
    rig: Rig, jobs: Jobs, plain: Plain, residents: dict[str, Resident], scarce: Any
) -> None:
    job = jobs("flux")[0]
    truth = plain(job)
    pool = rig.engine._pool
    alone = lambda _: pool.resident == ["flux"]  # noqa: E731
    scarce(meeting(residents["flux"], Stage.DENOISE), alone)
    rig.run(job)
    assert same(rig, job, truth)
    assert pool.evictions == len(residents) - 1


def test_a_decoder_that_does_not_fit_works_in_tiles(
    rig: Rig, jobs: Jobs, residents: dict[str, Resident], scarce: Any
) -> None:
    job = jobs("flux")[0]
    decoder = meeting(residents["flux"], Stage.DECODE)
    scarce(decoder, lambda _: decoder._module.use_tiling)
    rig.run(job)
    assert isinstance(rig.outcomes[job.id], Image)
    assert not decoder._module.use_tiling, "the next job is decoded whole again"


def test_a_picture_is_encoded_in_the_room_of_idle_models_or_in_tiles(
    rig: Rig, jobs: Jobs, plain: Plain, residents: dict[str, Resident], scarce: Any
) -> None:
    job = next(it for it in jobs("flux") if it.task == "img2img")
    truth = plain(job)
    encoder = next(it for it in residents["flux"].meetings if it.join.method == "encode")
    scarce(encoder, lambda _: encoder._module.use_tiling)
    rig.run(job)
    assert same(rig, job, truth), "one tile is enough for it"
    assert rig.engine._pool.resident == ["flux"]


def test_what_a_failed_pass_held_is_free_again_before_the_next_try(
    rig: Rig, jobs: Jobs, residents: dict[str, Resident], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception keeps the frames that it came through, and with them all activations."""
    job = jobs("flux")[0]
    held: list[weakref.ref[torch.Tensor]] = []
    still_there: list[bool] = []

    def method(**arguments: Any) -> Any:
        still_there.extend(ref() is not None for ref in held)
        activations = torch.zeros(1000)
        held.append(weakref.ref(activations))
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB")

    monkeypatch.setattr(meeting(residents["flux"], Stage.DECODE), "_method", method)
    rig.run(job)
    assert isinstance(rig.outcomes[job.id], DoesNotFit)
    assert len(held) == 3, "as it is, without other models, in tiles"
    assert not any(still_there)


def test_what_fits_in_no_way_fails_alone_and_says_what_would(
    rig: Rig, jobs: Jobs, plain: Plain, residents: dict[str, Resident], scarce: Any
) -> None:
    good, *_ = jobs("flux")
    large = replace(good, id="large", width=128, height=128)
    truth = plain(good)
    tokens = 4 * 4
    method = scarce(
        meeting(residents["flux"], Stage.DENOISE),
        lambda arguments: arguments["hidden_states"].shape[1] <= tokens,
    )
    rig.run(good)
    assert method.rows
    rig.run(large, replace(good, id="beside"))
    error = rig.outcomes["large"]
    assert isinstance(error, DoesNotFit)
    assert (error.width, error.height) == (good.width, good.height)
    assert same(rig, replace(good, id="beside"), truth)


@pytest.mark.parametrize("fitted", [None, 64, 128])
def test_without_any_experience_half_of_the_pixels_is_said(
    fitted: int | None, rig: Rig, jobs: Jobs, residents: dict[str, Resident], scarce: Any
) -> None:
    """What is no smaller, and did fit once, helps nobody."""
    job = jobs("flux")[0]
    if fitted is not None:
        rig.run(replace(job, id="before", width=fitted, height=fitted, steps=1))
    scarce(meeting(residents["flux"], Stage.DENOISE), lambda _: False)
    rig.run(job)
    error = rig.outcomes[job.id]
    assert isinstance(error, DoesNotFit)
    assert 0 < error.width * error.height <= job.width * job.height / 2 + job.width


def test_a_lost_device_ends_the_worker_not_the_job(
    rig: Rig, jobs: Jobs, residents: dict[str, Resident], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(**arguments: Any) -> Any:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(meeting(residents["flux"], Stage.DENOISE), "_method", lost)
    with pytest.raises(DeviceLost):
        rig.run(jobs("flux")[0])
    assert rig.outcomes == {}


@pytest.mark.parametrize("times", [1, 2, 10**6])
def test_error_that_the_device_survives_costs_at_most_a_job(
    times: int,
    rig: Rig,
    jobs: Jobs,
    plain: Plain,
    residents: dict[str, Resident],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = jobs("flux")[0]
    pair = [replace(first, id="one"), replace(first, id="two", prompt="a blue fox")]
    truths = [plain(job) for job in pair]
    where = meeting(residents["flux"], Stage.DENOISE)
    method, left = where._method, [times]

    def failing(**arguments: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `gemm`")
        return method(**arguments)

    monkeypatch.setattr("pipelines.scheduling.trouble._device_answers", lambda: True)
    monkeypatch.setattr(where, "_method", failing)
    rig.run(*pair)
    if times > 2:
        assert all(isinstance(rig.outcomes[job.id], JobFailed) for job in pair)
        monkeypatch.setattr(where, "_method", method)
        pair = [replace(job, id=f"{job.id} again") for job in pair]
        rig.run(*pair)
    for job, truth in zip(pair, truths, strict=True):
        assert same(rig, job, truth)


def test_a_device_that_is_lost_in_a_lane_is_lost(
    rig: Rig, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What went wrong in a pass may come to light in whatever waits for the device next."""

    def lost(pixels: torch.Tensor) -> Image:
        raise ValueError("no pixels") from torch.AcceleratorError("CUDA error: launch failure")

    monkeypatch.setattr(render, "to_image", lost)
    with pytest.raises(DeviceLost):
        rig.run(jobs("sd")[0])
    assert rig.outcomes == {}, "it is run again elsewhere"


def test_a_crowd_of_one_caller_does_not_hold_up_anothers_one(rig: Rig, jobs: Jobs) -> None:
    """By passes: two of the crowd's, then its own steps, encoding and decoding."""
    first = jobs("flux")[0]
    crowd = [replace(first, id=f"a{n}", seed=n, caller="a", steps=8) for n in range(40)]
    late = replace(first, id="b", caller="b", steps=4)
    for job in crowd:
        rig.engine.submit(job)
    for _ in range(10):
        rig.engine.step()
    rig.engine.submit(late)
    before = len(rig.passes)
    while "b" not in rig.outcomes:
        rig.engine.step()
    own = 2 * late.steps + 3  # true guidance calls the denoiser twice a step; texts, the decoder
    assert len(rig.passes) - before <= own + 2
