"""A lane: one job's own, unmodified diffusers pipeline call, in its own greenlet.

A lane runs until its pipeline calls a module at which calls meet; there it is parked, holding
everything it needs, until the engine resumes it with its rows or throws into it. It knows nothing
of other lanes.
"""

import copy
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from greenlet import getcurrent, greenlet

from pipelines.core import Image, Job
from pipelines.lanes.finite import FiniteChecks
from pipelines.lanes.noise_schedulers import keep_on_host

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from pipelines.lanes.adapters import Worn
    from pipelines.lanes.rendezvous import Call


class Lane(greenlet):
    """One job on its way through its pipeline. `parked` is the call that it waits for, `wears`
    the adapters that its modules are to have."""

    def __init__(self, job: Job, run: Callable[["Lane"], Image], arrived: float) -> None:
        super().__init__(self._run)
        self.job = job
        self.arrived = arrived
        self.steps_left = job.steps_run
        self.steps_run = 0
        self.device_seconds = 0.0
        self.previews = 0
        self.wears: Worn = ()
        self.finite = FiniteChecks()
        self.parked: Call | None = None
        self.image: Image | None = None
        self.failure: BaseException | None = None
        self.digests: dict[Hashable, Hashable] = {}
        """Digests of the positions that its calls pass, by argument and shape."""
        self._body = run

    def _run(self) -> None:
        try:
            self.image = self._body(self)
        except BaseException as error:  # nothing that a lane does may reach the lanes beside it
            self.failure = error

    def resume(self, answer: Any = None) -> None:
        """Go on, with the parked call's answer, until the next meeting or the end."""
        self._enter(self.switch, *(() if answer is None else (answer,)))

    def fail(self, error: BaseException) -> None:
        """Raise in the lane where it is parked; a lane that has not begun never does."""
        if not self:
            self.failure = error
        else:
            self._enter(self.throw, error)

    @property
    def ended(self) -> bool:
        return self.image is not None or self.failure is not None

    def park(self, call: "Call") -> Any:
        """Called from inside the lane: wait here for the engine's answer to a call."""
        self.parked = call
        assert self.parent is not None, "a running lane has an engine above it"
        return self.parent.switch()

    def step_ended(self, steps_left: int) -> None:
        self.steps_left = steps_left
        self.steps_run += 1

    def _enter(self, how: Callable[..., Any], *answer: Any) -> None:
        self.parked = None
        before = _thread_state()
        how(*answer)
        if _thread_state() != before:
            raise RuntimeError(f"job {self.job.id} left torch's thread state changed: {before}")


def current_lane() -> Lane | None:
    """The lane whose pipeline is calling, or None for a call from anywhere else."""
    here = getcurrent()
    return here if isinstance(here, Lane) else None


def fork(pipe: "DiffusionPipeline") -> "DiffusionPipeline":
    """A pipeline for one job: the shared weights, its own attributes and noise scheduler."""
    mine = copy.copy(pipe)
    vars(mine)["scheduler"] = keep_on_host(copy.deepcopy(pipe.scheduler))
    return mine


@contextmanager
def forked(pipe: "DiffusionPipeline") -> Iterator["DiffusionPipeline"]:
    """A fork for as long as this lasts, and nothing of it then.

    What stands in for its methods refers to it, in a circle: latents would stay in memory until
    somebody looked for garbage.
    """
    mine = fork(pipe)
    try:
        yield mine
    finally:
        for part in (mine.scheduler, mine):
            vars(part).clear()


def _thread_state() -> tuple[bool, bool, bool]:
    """What of torch's state belongs to the thread, and so to all lanes at once."""
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cuda") or torch.is_autocast_enabled("cpu"),
    )
