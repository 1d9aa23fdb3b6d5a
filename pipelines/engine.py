"""The loop of one device: admit jobs into lanes, choose the next pass, run it, answer its lanes.

Joins policy, lanes, rendezvous and pool. Knows nothing of processes or of who waits for the images.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from traceback import format_exception
from typing import Any, NamedTuple

from pipelines.core import Image, Job, JobCancelled, JobError, JobFailed, Preview
from pipelines.lanes.constructing import undisturbed
from pipelines.lanes.lanes import Lane
from pipelines.models.loader import Resident
from pipelines.models.pool import Pool
from pipelines.passes import Parked, Passes
from pipelines.render import render
from pipelines.scheduling.policy import Policy
from pipelines.scheduling.pulse import Pulse
from pipelines.scheduling.stopwatch import Stopwatch
from pipelines.scheduling.trouble import forget_frames, is_out_of_memory, require_device

log = logging.getLogger(__name__)

Report = Callable[[str, Image | Preview | JobError], None]
"""(job id, what became of it), called once for every job; its previews come before."""


_ATTEMPTS = 3


class _Attempt(NamedTuple):
    """What is kept of a job's lanes that ran out of memory outside a pass."""

    number: int = 0
    device_seconds: float = 0.0
    previews: int = 0


class Engine:
    """Runs the jobs of one device, each in its own lane, their denoising steps in company."""

    def __init__(
        self,
        pool: Pool[Resident],
        policy: Policy,
        watch: Stopwatch,
        report: Report,
        pulse: Pulse | None = None,
    ) -> None:
        self._pool = pool
        self._policy = policy
        self._watch = watch
        self._report = report
        self._pulse = pulse or Pulse()
        self.passes = Passes(watch, policy, self._make_room)
        self._waiting: dict[str, tuple[Job, float]] = {}
        self._lanes: dict[str, Lane] = {}
        self._attempts: dict[str, _Attempt] = {}
        self._exclusive: list[str] = []
        """Jobs that need the device for themselves; until they have had it, no other job begins."""

    @property
    def lanes(self) -> int:
        """How many jobs are under way; while there are any, `step` brings some forward."""
        return len(self._lanes)

    def submit(self, job: Job, waited_s: float = 0.0) -> None:
        """Take a job; it gets a lane as soon as its model is resident."""
        self._waiting[job.id] = (job, time.monotonic() - waited_s)

    def cancel(self, job_id: str) -> None:
        """Nobody waits for a job any more: its lane is free at once, between two passes."""
        if job_id in self._waiting:
            self._end(job_id, JobCancelled())
        elif job_id in self._lanes:
            lane = self._lanes[job_id]
            lane.fail(JobCancelled())
            self._settle(lane)

    def step(self) -> None:
        """One pass: who goes next, their forward, and each lane on to its next meeting.

        Raises DeviceLost.
        """
        with undisturbed():
            self._step()
        self._pool.make_way(self._busy)

    def _step(self) -> None:
        self._admit()
        self._watch.settle()
        chosen = self._policy.choose(self._parked(), time.monotonic(), self._watch.free())
        if chosen:
            self._pulse.beat(self._policy.predicted(chosen))
            for parked, answer in self.passes.run(chosen):
                self._pulse.go_on()
                self._resume(parked.lane, answer)
        if not self._lanes:
            self._watch.settle(0)  # what is measured later holds the lanes that it was of
            self._pulse.rest()

    def _admit(self) -> None:
        """Open a lane for every waiting job whose model is resident; have the others loaded."""
        self._pool.land()
        for job, arrived in self._admissible():
            try:
                model = self._resident(job)
            except Exception as error:  # whatever its files are like: it is this job's alone
                self._end(job.id, _as_job_error(job, error))
                continue
            if model is not None:
                del self._waiting[job.id]
                self._open(job, model, arrived)

    def _admissible(self) -> list[tuple[Job, float]]:
        """The waiting jobs that may have a lane now."""
        if not self._exclusive:
            return list(self._waiting.values())
        return [] if self._lanes else [self._waiting[self._exclusive[0]]]

    def _resident(self, job: Job) -> Resident | None:
        """A job's model, once it is resident, and the LoRAs of the job are read and have room."""
        model = self._pool.get(job.model)
        if model is None or not job.loras:
            return model
        self._pulse.start_job(job.id)  # reading a LoRA is work for this job alone
        if not model.loras.ready(model.pipe, job.loras):
            return None
        needs = partial(model.loras.missing, model.pipe, job.loras)
        return model if self._pool.spare(job.model, needs) else None

    def _open(self, job: Job, model: Resident, arrived: float) -> None:
        self._pulse.start_job(job.id)
        if self._exclusive:
            self._pool.evict(keep={job.model})
        lane = Lane(job, lambda lane: render(lane, model, partial(self._show, lane)), arrived)
        attempt = self._attempts.get(job.id, _Attempt())
        lane.device_seconds, lane.previews = attempt.device_seconds, attempt.previews
        self._lanes[job.id] = lane
        self._pulse.begin()
        self._resume(lane)

    def _show(self, lane: Lane, preview: Preview) -> None:
        """Report a preview, unless an earlier attempt has shown it."""
        if preview.index >= lane.previews:
            lane.previews = preview.index + 1
            self._report(lane.job.id, preview)

    def _parked(self) -> list[Parked]:
        return [Parked(lane, lane.parked) for lane in self._lanes.values() if lane.parked]

    def _make_room(self) -> bool:
        """Give up the models that no lane is in."""
        return bool(self._pool.evict(keep=self._busy))

    @property
    def _busy(self) -> set[str]:
        """The models that lanes are in."""
        return {lane.job.model for lane in self._lanes.values()}

    def _resume(self, lane: Lane, answer: Any = None) -> None:
        if isinstance(answer, Exception):
            lane.fail(answer)
        else:
            lane.resume(answer)
        self._settle(lane)

    def _settle(self, lane: Lane) -> None:
        if not lane.ended:
            return
        del self._lanes[lane.job.id]
        if lane.failure is not None:
            if self._tries_again(lane, lane.failure):
                return
            error = _as_job_error(lane.job, lane.failure)
            error.device_seconds = lane.device_seconds
            self._end(lane.job.id, error)
        elif lane.image is not None:
            self._watch.settle(0)  # its pixels are here: no pass is running any more
            self.passes.fitted(lane)
            seconds, steps = lane.device_seconds, lane.steps_run
            self._end(lane.job.id, replace(lane.image, device_seconds=seconds, steps=steps))

    def _tries_again(self, lane: Lane, error: BaseException) -> bool:
        """Have a job that ran out of memory outside a pass begin again, if that may help.

        It begins again without the models that no lane is in, then with the device for itself.
        What a pass does that runs out of memory is up to `passes`.
        """
        job, attempt = lane.job, self._attempts.get(lane.job.id, _Attempt())
        if isinstance(error, JobError) or not is_out_of_memory(error):
            return False
        forget_frames(error)
        gave_way = self._pool.evict(keep=self._busy | {job.model})
        if attempt.number + 1 == _ATTEMPTS or not (gave_way or self._lanes):
            lane.failure = self.passes.does_not_fit(job, error)
            return False
        if (attempt.number or not gave_way) and job.id not in self._exclusive:
            self._exclusive.append(job.id)
        log.warning("job %s ran out of memory outside a pass, and begins again: %s", job.id, error)
        self._attempts[job.id] = _Attempt(attempt.number + 1, lane.device_seconds, lane.previews)
        self._waiting[job.id] = (job, lane.arrived)
        return True

    def _end(self, job_id: str, outcome: Image | JobError) -> None:
        """Forget a job and report what became of it."""
        self._waiting.pop(job_id, None)
        self._attempts.pop(job_id, None)
        if job_id in self._exclusive:
            self._exclusive.remove(job_id)
        self._report(job_id, outcome)


def _as_job_error(job: Job, error: BaseException) -> JobError:
    """What is told of a failure, without the memory that it holds. Raises DeviceLost."""
    require_device(error)
    if not isinstance(error, JobError):
        told = "".join(format_exception(error))
        log.error("job %s (%s, %s) failed:\n%s", job.id, job.model, job.task, told)
    forget_frames(error)
    return error if isinstance(error, JobError) else JobFailed(f"{type(error).__name__}: {error}")
