"""Whose turn it is: least remaining work first, aged, within fair shares between callers.

Pure Python with the time given from outside. The order is the same for jobs that wait for a device
and for calls that wait for a pass; it knows neither.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from pipelines.core import Priority

AGEING = 0.05
"""A second of waiting counts as this many seconds less work, among the work of one caller: a job
of 50 s yields to short ones for at most 1,000 s."""

PROMOTED_AFTER_S = 600.0
"""Each time that a job has waited so long it counts as of the next higher priority, where there is
anything of that: nothing is kept waiting for ever by what comes after it."""

_LEVELS: dict[Priority, int] = {"high": 0, "normal": 1, "low": 2}


class Waits(Protocol):
    """What the order sees of a job or a call."""

    @property
    def caller(self) -> str: ...
    @property
    def weight(self) -> float: ...
    @property
    def priority(self) -> Priority: ...
    @property
    def arrived(self) -> float: ...


W = TypeVar("W", bound=Waits)


class Shares:
    """The device time that every caller has had, over its weight, and the order that follows.

    Weighted fair queueing (Demers, Keshav, Shenker 1989): a caller's virtual time is what it was
    charged; the clock is what a caller would have had that was there all along, and whoever comes
    back begins no earlier than it, so that nobody saves up. What waits is ordered by the virtual
    time at which it would be finished if its caller had its share all along.
    """

    def __init__(self) -> None:
        self._had: dict[str, float] = {}
        self._weights: dict[str, float] = {}
        self._present: frozenset[str] = frozenset()
        self._clock = 0.0

    def charge(self, caller: str, weight: float, seconds: float) -> None:
        """A caller's work took so many seconds of a device."""
        had = self._had.get(caller, self._clock)
        if caller not in self._present:
            had = max(had, self._clock)
        self._had[caller] = had + seconds / weight
        self._weights[caller] = weight
        self._advance(seconds)

    def _advance(self, seconds: float) -> None:
        """The clock shares the seconds out among those present, and who left ahead of it."""
        away = self._had.keys() - self._present
        ahead = sorted((self._had[c], c) for c in away if self._had[c] > self._clock)
        sharing = [*self._present, *(caller for _, caller in reversed(ahead))]
        for had, _ in ahead:
            # Summed anew: what subtraction leaves of nothing would be divided by.
            until_then = (had - self._clock) * sum(self._weights[caller] for caller in sharing)
            if until_then > seconds:
                break
            self._clock, seconds = had, seconds - until_then
            sharing.pop()
        self._clock += seconds / (sum(self._weights[caller] for caller in sharing) or 1.0)

    def order(self, waiting: Sequence[W], work: Callable[[W], float], now: float) -> list[W]:
        """The most urgent first. `work` is the seconds that remain of one, on a device alone."""
        self._enter({one.caller: one.weight for one in waiting})
        ranked = sorted(self._ranks(waiting, work, now), key=lambda found: found[0])
        return [one for _, one in ranked]

    def ahead_of(self, one: W, others: Iterable[W], work: Callable[[W], float], now: float) -> int:
        """How many of the others are more urgent than it."""
        ranks = [(rank, found is one) for rank, found in self._ranks([*others, one], work, now)]
        mine = next(rank for rank, is_mine in ranks if is_mine)
        return sum(rank < mine for rank, _ in ranks)

    def _ranks(
        self, waiting: Sequence[W], work: Callable[[W], float], now: float
    ) -> Iterator[tuple[tuple[int, float, float], W]]:
        queues = defaultdict[str, list[tuple[int, float, float, W]]](list)
        highest = min((_LEVELS[one.priority] for one in waiting), default=0)
        for one in waiting:
            seconds, waited = work(one), now - one.arrived
            aged = seconds - AGEING * waited
            level = max(highest, _LEVELS[one.priority] - int(waited / PROMOTED_AFTER_S))
            queues[one.caller].append((level, aged, seconds, one))
        for caller, queue in queues.items():
            queue.sort(key=lambda entry: entry[:2])
            before = 0.0
            for level, _, seconds, one in queue:
                finish = self._had.get(caller, self._clock) + (before + seconds) / one.weight
                # To the microsecond: sums taken in another order must not turn it round.
                yield (level, round(finish, 6), one.arrived), one
                before += seconds

    def _enter(self, weights: dict[str, float]) -> None:
        if weights.keys() == self._present:
            return
        for caller in weights.keys() - self._present:
            self._had[caller] = max(self._had.get(caller, self._clock), self._clock)
        self._present = frozenset(weights)
        # Whoever is away and behind the clock would begin with it anyway.
        self._had = {c: had for c, had in self._had.items() if c in weights or had > self._clock}
        self._weights = {c: weights.get(c) or self._weights[c] for c in self._had}
