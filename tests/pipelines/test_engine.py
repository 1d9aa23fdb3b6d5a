"""The engine's promise: an image is what the bare pipeline makes, in whatever company."""

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import pytest
import torch

from pipelines import render
from pipelines.core import Image, Job, JobCancelled, JobFailed
from pipelines.lanes import lanes
from pipelines.lanes.joins import Stage
from pipelines.models.loader import Resident
from pipelines.scheduling.pulse import Pulse
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


def test_what_is_wrong_with_a_models_files_fails_its_jobs_alone(
    rig: Rig, jobs: Jobs, plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = jobs("sd")[0], jobs("flux")[0]
    pool = rig.engine._pool
    get = pool.get

    def gone(model: str) -> Resident | None:
        if model == bad.model:
            raise FileNotFoundError("there a moment ago")
        return get(model)

    monkeypatch.setattr(pool, "get", gone)
    rig.run(good, replace(bad, id="bad"))
    assert isinstance(rig.outcomes["bad"], JobFailed)
    assert_same(rig.pixels(good), plain(good))


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


@pytest.mark.parametrize("watch", [HostStopwatch, _Late])
@pytest.mark.parametrize("end", ["made", "cancelled", "failed"])
def test_nothing_of_a_job_stays_in_memory(
    end: str, watch: type[HostStopwatch], rig: Rig, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor until somebody looks for garbage: a device may be full long before that."""
    rig.engine._watch = rig.engine.passes._watch = watch()
    job = replace(jobs("sd")[0], previews=1)
    rig.run(job)  # what is imported once stays
    held: list[weakref.ref[object]] = []
    plainly = lanes.fork

    def fork(pipe: Any) -> Any:
        mine = plainly(pipe)
        held.extend(map(weakref.ref, (mine, mine.scheduler, lanes.current_lane())))
        return mine

    def raises(pixels: torch.Tensor) -> Image:
        held.append(weakref.ref(pixels))
        raise ValueError("no")

    def cancel(step: int) -> list[Job]:
        if step == 5 and end == "cancelled":
            rig.engine.cancel(end)
        return []

    monkeypatch.setattr(lanes, "fork", fork)
    if end == "failed":
        monkeypatch.setattr(render, "to_image", raises)
    gc.collect()
    gc.disable()
    try:
        rig.run(replace(job, id=end), late=cancel)
        assert held
        assert [ref() for ref in held if ref() is not None] == []
    finally:
        gc.enable()


@pytest.mark.parametrize("family", tiny.FIRST)
def test_what_is_left_of_work_on_a_picture_is_known_before_it_begins(
    family: str, rig: Rig, jobs: Jobs
) -> None:
    """Short work would wait behind longer work otherwise, for its first step."""
    job = next(it for it in jobs(family) if it.task == "img2img")
    left: list[int] = []

    def look(step: int) -> list[Job]:
        calls = rig.engine._parked()
        left.extend(it.steps_left for it in calls if it.stage is Stage.DENOISE)
        return []

    rig.run(replace(job, steps=10, strength=0.3), late=look)
    assert sorted({*left}) == list(range(1, left[0] + 1))
    assert left[0] == 3


@pytest.mark.parametrize(("family", "steps"), [("sd", 3), ("flux", 4)])
def test_the_steps_that_were_run_are_told(family: str, steps: int, rig: Rig, jobs: Jobs) -> None:
    """Families round what `strength` leaves of them up or down."""
    whole, part = (it for it in jobs(family) if it.id in "ae")
    rig.run(whole, replace(part, steps=10, strength=0.35))
    told = [rig.outcomes[job.id] for job in (whole, part)]
    assert [it.steps for it in told if isinstance(it, Image)] == [whole.steps, steps]


class _Followed(Pulse):
    """What was said of a worker, word by word."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def begin(self) -> None:
        self.said.append("begin")

    def beat(self, predicted_s: float) -> None:
        self.said.append("pass")

    def go_on(self) -> None:
        self.said.append("go on")

    def rest(self) -> None:
        self.said.append("rest")


def test_whatever_may_hang_has_a_time_of_its_own(rig: Rig, jobs: Jobs) -> None:
    """Many lanes go on one after the other: one time for all of them would be too short."""
    rig.engine._pulse = pulse = _Followed()
    first, second = jobs("sd")[:2]
    rig.run(first, replace(second, steps=first.steps))
    *work, last = pulse.said
    assert work[:2] == ["begin", "begin"]
    assert work.count("pass") == len(rig.passes)
    assert work.count("go on") == sum(rig.passes)
    assert last == "rest"


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


def test_a_job_is_marked_before_any_work_for_it_begins(
    rig: Rig, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ends the worker in it, the mark is there; and not while it only waits."""
    rig.engine._pulse = pulse = Pulse()
    first, second = jobs("sd")[:2]
    for slot, job in enumerate((first, second)):
        pulse.assign_slot(job.id, slot)
    rendered = []

    def marked(lane: Any, *args: Any) -> Any:
        rendered.append([pulse.is_started(0), pulse.is_started(1)])
        return render.render(lane, *args)

    monkeypatch.setattr("pipelines.engine.render", marked)
    rig.run(first)
    assert rendered[0] == [True, False]
    rig.run(second)
    assert rendered == [[True, False], [True, True]]
