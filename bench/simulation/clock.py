"""A clock that is a number: one heap of what is to happen, and when."""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

Event = Callable[[], None]


class Clock:
    """Runs events in the order of their time; those of one moment in the order they were set."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Event]] = []
        self._number = count()

    def at(self, when: float, event: Event) -> None:
        """Let something happen; what is set cannot be taken back, and must see for itself."""
        heappush(self._events, (when, next(self._number), event))

    def run(self) -> None:
        """Until nothing is left to happen."""
        while self._events:
            self.now, _, event = heappop(self._events)
            event()
