"""The accepted jobs that wait for a device, in the order of their urgency.

Pure bookkeeping with the time given from outside. Knows nothing of devices or of HTTP.
"""

import asyncio
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Generic, Protocol, TypeVar

from pipelines.core import Image, Job, Preview, Priority
from pipelines.scheduling.shares import Shares, Waits

Show = Callable[[Job, Preview], None]
"""Told of the previews of a job."""
Spent = Callable[[Job, float], None]
"""Told of the device seconds of a job whose image nobody got."""


class Queued(Waits, Protocol):
    """What the queue and the choice of a device see of a job."""

    @property
    def job(self) -> Job: ...
    @property
    def work_s(self) -> float: ...


Q = TypeVar("Q", bound=Queued)
_work = attrgetter("work_s")


@dataclass(slots=True, eq=False)
class Ticket:
    """An accepted job, and the future of whoever waits for it."""

    job: Job
    future: asyncio.Future[Image]
    arrived: float
    work_s: float
    """Predicted seconds of a device."""
    show: Show | None = None
    spent: Spent | None = None
    deadline: float = math.inf
    """When its client is assumed to have given up; it waits no longer for a device to come back."""
    previews_shown: int = 0

    @property
    def caller(self) -> str:
        return self.job.caller

    @property
    def weight(self) -> float:
        return self.job.weight

    @property
    def priority(self) -> Priority:
        return self.job.priority

    @property
    def interactive(self) -> bool:
        """Whether someone watches it, or it goes before others."""
        return self.show is not None or self.job.priority == "high"


class Queue(Generic[Q]):
    """What waits: the least work first, aged, in fair shares between callers."""

    def __init__(self) -> None:
        self._waiting: dict[Q, None] = {}
        self._shares = Shares()

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, ticket: Q) -> bool:
        return ticket in self._waiting

    def __iter__(self) -> Iterator[Q]:
        return iter(self._waiting)

    def add(self, ticket: Q) -> None:
        """One more; a job that comes back has kept the time of its arrival."""
        self._waiting[ticket] = None

    def remove(self, ticket: Q) -> None:
        """It has a device, or nobody waits for it any more."""
        del self._waiting[ticket]

    def charge(self, job: Job, seconds: float) -> None:
        """A job took so many seconds of a device."""
        self._shares.charge(job.caller, job.weight, seconds)

    def ordered(self, now: float) -> list[Q]:
        """All that wait, the most urgent first."""
        return self._shares.order(list(self._waiting), _work, now)

    def ahead_of(self, ticket: Q, others: list[Q], now: float) -> int:
        """How many of the others are more urgent."""
        return self._shares.ahead_of(ticket, others, _work, now)
