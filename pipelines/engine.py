"""The loop of one device: admit jobs into lanes, choose the next pass, run it, answer its lanes.

Joins policy, lanes, rendezvous and pool. Knows nothing of processes or of who waits for the images.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from pipelines.core import Image, Job, JobCancelled, JobError, JobFailed, Preview
from pipelines.lanes import Lane
from pipelines.loader import Resident
from pipelines.policy import Policy
from pipelines.pool import Pool
from pipelines.render import render
from pipelines.rendezvous import Call
from pipelines.stopwatch import Stopwatch

log = logging.getLogger(__name__)

Report = Callable[[str, Image | Preview | JobError], None]
"""(job id, what became of it), called once for every job; its previews come before."""


class Engine:
    """Runs the jobs of one device, each in its own lane, their denoising steps in company."""

    def __init__(
        self, pool: Pool[Resident], policy: Policy, watch: Stopwatch, report: Report
    ) -> None:
        self._pool = pool
        self._policy = policy
        self._watch = watch
        self._report = report
        self._waiting: dict[str, tuple[Job, float]] = {}
        self._lanes: dict[str, Lane] = {}

    @property
    def lanes(self) -> int:
        """How many jobs are under way; while there are any, `step` brings some forward."""
        return len(self._lanes)

    def submit(self, job: Job) -> None:
        """Take a job; it gets a lane as soon as its model is resident."""
        self._waiting[job.id] = (job, time.monotonic())

    def cancel(self, job_id: str) -> None:
        """Nobody waits for a job any more: its lane is free at once, between two passes."""
        if job_id in self._waiting:
            del self._waiting[job_id]
            self._report(job_id, JobCancelled())
        elif job_id in self._lanes:
            lane = self._lanes[job_id]
            lane.fail(JobCancelled())
            self._settle(lane)

    def step(self) -> None:
        """One pass: who goes next, their forward, and each lane on to its next meeting."""
        self._admit()
        self._watch.settle()
        chosen = self._policy.choose(self._parked(), time.monotonic())
        for lane, answer in self._run(chosen):
            self._resume(lane, answer)

    def _admit(self) -> None:
        """Open a lane for every waiting job whose model is resident; begin to load the others."""
        for job, arrived in list(self._waiting.values()):
            try:
                model = self._pool.get(job.model)
            except JobError as error:
                del self._waiting[job.id]
                self._report(job.id, error)
                continue
            if model is not None:
                del self._waiting[job.id]
                self._open(job, model, arrived)

    def _open(self, job: Job, model: Resident, arrived: float) -> None:
        show = partial(self._report, job.id)
        lane = Lane(job, lambda lane: render(lane, model, show), arrived)
        self._lanes[job.id] = lane
        self._resume(lane)

    def _parked(self) -> list["_Parked"]:
        return [_Parked(lane, lane.parked) for lane in self._lanes.values() if lane.parked]

    def _run(self, chosen: Sequence["_Parked"]) -> list[tuple[Lane, Any]]:
        """The answers of one pass. A merged pass that fails is run again in halves."""
        if not chosen:
            return []
        meeting, rows = chosen[0].call.at, sum(parked.rows for parked in chosen)
        calls = [parked.call for parked in chosen]
        try:
            answers = self._watch.time(
                lambda: meeting.run(calls),
                lambda seconds: self._charge(chosen, seconds),
            )
        except Exception as error:
            if len(chosen) == 1:
                return [(chosen[0].lane, error)]
            log.warning("a pass of %d rows failed, and is run in halves: %s", rows, error)
            half = len(chosen) // 2
            return self._run(chosen[:half]) + self._run(chosen[half:])
        return [(parked.lane, answer) for parked, answer in zip(chosen, answers, strict=True)]

    def _charge(self, chosen: Sequence["_Parked"], seconds: float) -> None:
        rows = sum(parked.rows for parked in chosen)
        self._policy.observe(chosen[0].key, rows, seconds)
        for parked in chosen:
            parked.lane.device_seconds += seconds * parked.rows / rows

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
        if lane.image:
            outcome = replace(lane.image, device_seconds=lane.device_seconds)
            self._report(lane.job.id, outcome)
        else:
            self._report(lane.job.id, _as_job_error(lane.job, lane.failure))


class _Parked:
    """A lane and its parked call, as the policy sees them."""

    __slots__ = ("arrived", "call", "key", "lane", "rows", "stage", "steps_left")

    def __init__(self, lane: Lane, call: Call) -> None:
        self.lane, self.call = lane, call
        self.key, self.rows, self.stage = call.key, call.rows, call.stage
        self.steps_left, self.arrived = lane.steps_left, lane.arrived


def _as_job_error(job: Job, error: BaseException | None) -> JobError:
    if isinstance(error, JobError):
        return error
    log.error("job %s (%s, %s) failed", job.id, job.model, job.task, exc_info=error)
    return JobFailed(f"{type(error).__name__}: {error}")
