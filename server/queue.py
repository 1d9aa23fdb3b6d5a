"""The accepted jobs that wait for a lane, and how long the next one will wait.

Bounded; pure bookkeeping with the time given from outside. Knows nothing of devices or of HTTP.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipelines.core import Image, Job, Preview

Show = Callable[[Job, Preview], None]
"""Told of the previews of a job."""


@dataclass(slots=True, eq=False)
class Ticket:
    """An accepted job, and the future of whoever waits for it."""

    job: Job
    future: asyncio.Future[Image]
    show: Show | None = None
    deaths: int = 0
    """How many workers have died with this job."""


class Queue:
    """First come, first served; what a dead worker leaves behind goes before the rest."""

    def __init__(self) -> None:
        self._waiting: deque[Ticket] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Ticket]:
        return iter(list(self._waiting))

    def add(self, ticket: Ticket) -> None:
        self._waiting.append(ticket)

    def add_first(self, ticket: Ticket) -> None:
        self._waiting.appendleft(ticket)

    def remove(self, ticket: Ticket) -> None:
        self._waiting.remove(ticket)


class Pace:
    """The seconds between two images while there is work: measured, and forgotten slowly.

    The mean of the first few, later an exponential one.
    """

    def __init__(self, guess_s: float = 1.0, weight: float = 0.1) -> None:
        self._seconds = guess_s
        self._weight = weight
        self._measured = 0
        self._last: float | None = None

    def began(self, now: float) -> None:
        """Work arrived where there was none, or weights were loaded: that is not the pace."""
        self._last = now

    def finished(self, now: float, idle: bool) -> None:
        """An image was finished; `idle` if it was the last one."""
        if self._last is not None:
            self._measured += 1
            weight = max(self._weight, 1 / self._measured)
            self._seconds += weight * (now - self._last - self._seconds)
        self._last = None if idle else now

    def wait_s(self, images: int) -> float:
        """The predicted seconds until so many images are finished."""
        return images * self._seconds

    def too_late_s(self, ahead: int, images: int, within_s: float) -> float:
        """When to ask again for images that would not be finished within so long; else 0 or less.

        Never by a mere guess, and never where nothing is ahead: waiting would not help.
        """
        if not self._measured or not ahead:
            return 0.0
        return min(self.wait_s(ahead), self.wait_s(ahead + images) - within_s)
