"""The engine's promise: an image is what the bare pipeline makes, in whatever company."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np
import pytest

from pipelines.core import Image, Job, JobCancelled, JobFailed
from pipelines.models.loader import Resident
from pipelines.scheduling.stopwatch import HostStopwatch, Measured
from tests import tiny
from tests.pipelines.conftest import Rig

Jobs = Callable[[str], list[Job]]
Plain = Callable[[Job], np.ndarray]
T = TypeVar("T")


def assert_same(ours: np.ndarray, truth: np.ndarray) -> None:
    assert ours.shape == truth.shape
    assert np.abs(ours - truth).max() <= 1


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_alone(family: str, rig: Rig, jobs: Jobs, plain: Plain) -> None:
    for job in jobs(family):
        rig.run(job)
        assert_same(rig.pixels(job), plain(job))


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_in_company(family: str, rig: Rig, jobs: Jobs, plain: Plain) -> None:
    company = jobs(family)
    rig.run(*company)
    assert max(rig.passes) >= 3, "nothing was merged, so nothing was shown"
    for job in company:
        assert_same(rig.pixels(job), plain(job))


@pytest.mark.parametrize("family", tiny.FIRST)
def test_joining_late(family: str, rig: Rig, jobs: Jobs, plain: Plain) -> None:
    early, *others = jobs(family)
    arrivals = {4: others[:1], 6: others[1:]}
    rig.run(early, late=lambda step: arrivals.get(step, []))
    assert max(rig.passes) >= 2
    for job in (early, *others):
        assert_same(rig.pixels(job), plain(job))


def test_the_images_can_be_told_apart(jobs: Jobs, plain: Plain) -> None:
    """Without this, swapped lanes or lost prompts could pass every test above."""
    for family in tiny.FAMILIES:
        images = [plain(job) for job in jobs(family)]
        images.append(plain(replace(jobs(family)[0], prompt="another prompt")))
        for i, image in enumerate(images):
            for other in images[:i]:
                assert np.abs(image - other).max() > 8, family


def test_families_and_sizes_side_by_side(rig: Rig, jobs: Jobs, plain: Plain) -> None:
    company = [
        replace(job, id=f"{family}-{job.id}", width=64 + 16 * (job.id == "b"))
        for family in tiny.FAMILIES
        for job in jobs(family)[:2]
    ]
    rig.run(*company)
    for job in company:
        assert_same(rig.pixels(job), plain(job))


@pytest.mark.parametrize("family", tiny.FIRST)
def test_a_lane_that_raises_harms_no_other(family: str, rig: Rig, jobs: Jobs, plain: Plain) -> None:
    *good, bad = jobs(family)
    rig.run(*good, replace(bad, seed=2**64))
    assert isinstance(rig.outcomes[bad.id], JobFailed)
    for job in good:
        assert_same(rig.pixels(job), plain(job))


@pytest.mark.parametrize("family", tiny.FIRST)
def test_a_cancelled_lane_harms_no_other(family: str, rig: Rig, jobs: Jobs, plain: Plain) -> None:
    *good, gone = jobs(family)

    def cancel(step: int) -> list[Job]:
        if step == 5:
            rig.engine.cancel(gone.id)
            assert rig.engine.lanes == len(good), "the lane is free at once"
        return []

    rig.run(*good, gone, late=cancel)
    assert isinstance(rig.outcomes[gone.id], JobCancelled)
    for job in good:
        assert_same(rig.pixels(job), plain(job))


def test_a_job_cancelled_before_it_began_is_never_run(rig: Rig, jobs: Jobs) -> None:
    job = jobs("sd")[0]
    rig.engine.submit(job)
    rig.engine.cancel(job.id)
    rig.engine.step()
    assert isinstance(rig.outcomes[job.id], JobCancelled)
    assert rig.passes == [0]


def test_cancelling_what_is_not_there_does_nothing(rig: Rig) -> None:
    rig.engine.cancel("never heard of")
    assert rig.outcomes == {}


def test_a_merged_pass_that_fails_is_run_in_halves(
    rig: Rig, jobs: Jobs, plain: Plain, residents: dict[str, Resident],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    meeting = next(m for m in residents["flux"].meetings if m.join.rows_of == "hidden_states")
    forward = meeting._method

    def small(**arguments):  # type: ignore[no-untyped-def]
        if len(arguments["hidden_states"]) > 1:
            raise RuntimeError("CUDA out of memory")
        return forward(**arguments)

    company = jobs("flux")
    truth = [plain(job) for job in company]
    monkeypatch.setattr(meeting, "_method", small)
    rig.run(*company)
    for job, image in zip(company, truth, strict=True):
        assert_same(rig.pixels(job), image)


def test_equal_prompts_are_encoded_once(
    rig: Rig, jobs: Jobs, residents: dict[str, Resident], monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting = next(m for m in residents["flux"].meetings if m.join.remembers)
    encode, rows = meeting._method, []

    def counted(**arguments):  # type: ignore[no-untyped-def]
        rows.append(len(arguments["input_ids"]))
        return encode(**arguments)

    monkeypatch.setattr(meeting, "_method", counted)
    first = jobs("flux")[0]
    rig.run(first, replace(first, id="2", seed=5), replace(first, id="3", prompt="else"))
    rig.run(replace(first, id="4", seed=6))
    assert sum(rows) == 2
    assert np.abs(rig.pixels(first) - rig.pixels(replace(first, id="4"))).max() > 8


def test_an_unknown_model_fails_its_job_alone(rig: Rig, jobs: Jobs, plain: Plain) -> None:
    good = jobs("sd")[0]
    rig.outcomes.clear()
    rig.run(good)
    assert_same(rig.pixels(good), plain(good))


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_previews_come_before_the_image_and_change_nothing(
    family: str, rig: Rig, jobs: Jobs, plain: Plain
) -> None:
    shown, *others = jobs(family)
    shown = replace(shown, previews=2)
    rig.run(shown, *others)
    assert [preview.index for preview in rig.previews[shown.id]] == [0, 1]
    assert list(rig.previews) == [shown.id]
    last = np.frombuffer(rig.previews[shown.id][-1].image.pixels, np.uint8).astype(int)
    assert np.abs(last.reshape(64, 64, 3) - rig.pixels(shown)).mean() > 0
    for job in (shown, *others):
        assert_same(rig.pixels(job), plain(job))


class _Late(HostStopwatch):
    """As on CUDA: what a pass took is known once nothing later runs, or when it is asked for."""

    def __init__(self) -> None:
        self._running: list[tuple[float, Measured]] = []

    def time(self, work: Callable[[], T], measured: Measured) -> T:
        answer = work()
        self._running.append((1.0, measured))
        return answer

    def settle(self, running: int = 1) -> None:
        while len(self._running) > running:
            seconds, measured = self._running.pop(0)
            measured(seconds, 0.0)


def test_an_image_is_told_with_its_last_passes(rig: Rig, jobs: Jobs) -> None:
    rig.engine._watch = rig.engine.passes._watch = _Late()
    first, second = jobs("sd")[:2]
    rig.run(first)
    rig.run(second)
    for job in (first, second):
        outcome = rig.outcomes[job.id]
        assert isinstance(outcome, Image)
        # Two texts, but for one that is remembered; the steps; the decoder.
        assert outcome.device_seconds == (2 if job is first else 1) + job.steps + 1


def test_what_is_cancelled_or_fails_is_told_with_its_device_time(rig: Rig, jobs: Jobs) -> None:
    rig.engine._watch = rig.engine.passes._watch = _Late()
    gone, early, broken = (replace(jobs("sd")[0], id=id, seed=n) for n, id in enumerate("gxb"))
    broken = replace(broken, task="edit")

    def cancel(step: int) -> list[Job]:
        if step == 4:
            rig.engine.cancel(gone.id)
        return []

    rig.engine.submit(early)
    rig.engine.cancel(early.id)
    rig.run(gone, broken, late=cancel)
    errors = [rig.outcomes[it.id] for it in (gone, early, broken)]
    assert [it.device_seconds for it in errors] == [2.0, 0.0, 0.0], "but what may still run"
