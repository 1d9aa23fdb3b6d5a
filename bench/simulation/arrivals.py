"""Who asks when: mixes of requests under a pace that varies. The same seed gives the same list.

Knows nothing of devices.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import pi, sin
from random import Random

from bench.simulation.models import Shape

Pace = Callable[[float], float]
"""The rate at a moment, against the mean rate."""

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Kind:
    """One sort of request; its latencies are reported by its name."""

    name: str
    shape: Shape
    steps: int
    share: float = 1.0
    """Of all requests, against those of other kinds."""
    callers: Sequence[str] = ("",)
    images: int = 1
    streams: bool = False


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request at its moment, in seconds."""

    at: float
    kind: Kind
    caller: str


def steady(_: float) -> float:
    """Poisson arrivals."""
    return 1.0


def daily(now: float) -> float:
    """Busy at noon, quiet at midnight."""
    return 1.0 - 0.6 * sin(pi / 2 + 2 * pi * now / DAY_S)


class Bursts:
    """Two states of random length: now and then many times as many come as otherwise."""

    def __init__(self, seed: int, times: float = 5.0, share: float = 0.1, mean_s: float = 20.0):
        self._random = Random(seed)
        self._calm = 1 / (1 - share + share * times)
        self._paces = (self._calm, self._calm * times)
        self._lengths = (mean_s * (1 - share) / share, mean_s)
        self._busy, self._until = 0, 0.0

    def __call__(self, now: float) -> float:
        """To be asked in the order of time."""
        while now >= self._until:
            self._busy = 1 - self._busy
            self._until += self._random.expovariate(1 / self._lengths[self._busy])
        return self._paces[self._busy]


def arrivals(
    kinds: Sequence[Kind], rate: float, seed: int, until: float,
    pace: Pace = steady, at_most: float = 1.0,
) -> Iterator[Arrival]:  # fmt: skip
    """So many requests a second on average, the pace never above `at_most`."""
    when, what = Random(seed), Random(seed + 1)
    shares = [kind.share for kind in kinds]
    now = 0.0
    while (now := now + when.expovariate(rate * at_most)) < until:
        if when.random() * at_most < pace(now):
            kind = what.choices(kinds, shares)[0]
            yield Arrival(now, kind, what.choice(kind.callers))


def work_s(kinds: Sequence[Kind]) -> float:
    """The mean seconds of a device that a request takes where one job is made after the other."""
    total = sum(kind.share for kind in kinds)
    return sum(k.share * k.images * k.shape.alone_s(k.steps) for k in kinds) / total
