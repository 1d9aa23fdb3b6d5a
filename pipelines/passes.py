"""One pass: the chosen calls merged and run, and what is done when it does not fit into memory.

Knows calls, the stopwatch and the policy; nothing of lanes' lives, of models or of the server.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.core import DoesNotFit, Job
from pipelines.lanes.lanes import Lane
from pipelines.lanes.rendezvous import Call
from pipelines.scheduling.policy import Policy
from pipelines.scheduling.stopwatch import LOADS, Stopwatch
from pipelines.scheduling.trouble import (
    forget_frames,
    is_device_error,
    is_out_of_memory,
    require_device,
)

log = logging.getLogger(__name__)

Answered = list[tuple["Parked", Any]]
"""Each call with its answer, or with the exception that it gets instead."""


class Parked:
    """A lane and its parked call, as the policy sees them."""

    __slots__ = (
        "alone", "arrived", "awaited", "call", "caller", "key", "lane", "priority", "rows",
        "stage", "steps_left", "weight",
    )  # fmt: skip

    def __init__(self, lane: Lane, call: Call) -> None:
        job = lane.job
        self.lane, self.call = lane, call
        self.key, self.rows, self.stage, self.alone = call.key, call.rows, call.stage, call.alone
        self.steps_left, self.arrived = lane.steps_left, lane.arrived
        self.caller, self.weight, self.priority = job.caller, job.weight, job.priority
        self.awaited = job.previews > 0 and not lane.steps_run


@dataclass(slots=True)
class Tally:
    """What a device has done so far: its passes by their rows, and the seconds that they took."""

    passes: dict[int, int]
    busy_s: float = 0.0

    def add(self, rows: int, seconds: float) -> None:
        """One more pass."""
        self.passes[rows] = self.passes.get(rows, 0) + 1
        self.busy_s += seconds


class Passes:
    """Runs passes. `make_room` gives up what memory it can, and says whether there was any."""

    def __init__(self, watch: Stopwatch, policy: Policy, make_room: Callable[[], bool]) -> None:
        self._watch = watch
        self._policy = policy
        self._make_room = make_room
        self._fitted: dict[str, tuple[int, int]] = {}
        self.tally = Tally({})

    def run(self, chosen: Sequence[Parked]) -> Answered:
        """The answers to calls of equal key. Halves of them, where together they fail.

        Raises DeviceLost.
        """
        try:
            answers = self._together(chosen)
        except Exception as error:
            require_device(error)
            if len(chosen) == 1:
                return [(chosen[0], self._last_resort(chosen[0], error))]
            if is_out_of_memory(error) and not LOADS.active:  # which takes memory of its own
                self._policy.too_large(chosen)
            # Not the error itself, whose frames hold the memory of the pass, to whoever keeps logs.
            log.warning("a pass of %d calls is run in halves: %s", len(chosen), str(error))
        else:
            return list(zip(chosen, answers, strict=True))
        half = len(chosen) // 2
        return self.run(chosen[:half]) + self.run(chosen[half:])

    def fitted(self, lane: Lane) -> None:
        """A job was made: its size fits."""
        job = lane.job
        known = self._fitted.get(job.model, (0, 0))
        if job.width * job.height > known[0] * known[1]:
            self._fitted[job.model] = (job.width, job.height)

    def _together(self, chosen: Sequence[Parked], small: bool = False) -> list[Any]:
        calls = [parked.call for parked in chosen]
        return self._watch.time(
            lambda: calls[0].at.run(calls, small),
            lambda seconds, memory: self._ran(chosen, seconds, memory),
        )

    def _ran(self, chosen: Sequence[Parked], seconds: float, memory: float) -> None:
        rows = sum(parked.rows for parked in chosen)
        self.tally.add(rows, seconds)
        self._policy.ran(chosen, seconds, memory)
        for parked in chosen:
            parked.lane.device_seconds += seconds * parked.rows / rows

    def _last_resort(self, parked: Parked, error: Exception) -> Any:
        """One call that failed alone: with other models gone, then in tiles; or its exception."""
        if is_device_error(error):  # which the device has survived
            return self._run_again(parked, error)
        if not is_out_of_memory(error):
            return error
        forget_frames(error)
        for small, worth_trying in ((False, self._make_room), (True, parked.call.at.can_be_small)):
            try:
                if worth_trying():
                    return self._together([parked], small)[0]
            except Exception as again:
                if not is_out_of_memory(again):
                    return again
        return self.does_not_fit(parked.lane.job, error)

    def _run_again(self, parked: Parked, error: Exception) -> Any:
        log.warning("a pass of job %s runs again: %s", parked.lane.job.id, error)
        forget_frames(error)
        try:
            return self._together([parked])[0]
        except Exception as again:
            require_device(again)
            return again

    def does_not_fit(self, job: Job, error: BaseException) -> DoesNotFit:
        """The error for a job that needs more memory than there is, with a size that would fit."""
        width, height = self._fitted.get(job.model, (job.width, job.height))
        if width * height >= job.width * job.height:
            width, height = _half(job.width, job.height)
        log.error("job %s, %dx%d, does not fit: %s", job.id, job.width, job.height, error)
        return DoesNotFit(width, height)


def _half(width: int, height: int) -> tuple[int, int]:
    """Half of the pixels: a guess, where the largest size that was made here is no smaller."""
    return round(width / 2**0.5), round(height / 2**0.5)
