"""Who goes next: parked calls in, the next pass out.

Pure Python: no torch, no clock of its own, no knowledge of what a call computes. The same code can
therefore be driven by an engine or by a simulation.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from pipelines.joins import Stage

AGEING = 0.1
"""A second of waiting counts as this many seconds less work: a job of 100 s yields to short ones
for at most 1,000 s."""

KINDS_KEPT = 4096


class Waiting(Protocol):
    """What the policy sees of a parked call."""

    @property
    def key(self) -> Hashable: ...
    @property
    def stage(self) -> Stage: ...
    @property
    def rows(self) -> int: ...
    @property
    def steps_left(self) -> int: ...
    @property
    def arrived(self) -> float: ...


T = TypeVar("T", bound=Waiting)


@dataclass(slots=True)
class _Curve:
    """The measured seconds of a pass of one kind, by its rows."""

    seconds: dict[int, float]

    def observe(self, rows: int, seconds: float) -> None:
        known = self.seconds.get(rows, seconds)
        # The first pass of a shape pays for allocations and kernels that later ones find ready.
        self.seconds[rows] = min(known + 0.2 * (seconds - known), 2 * seconds)

    def at(self, rows: int) -> float:
        """Seconds of a pass of so many rows: measured, or between and beyond what was measured."""
        if rows in self.seconds:
            return self.seconds[rows]
        below = max((r for r in self.seconds if r < rows), default=None)
        above = min((r for r in self.seconds if r > rows), default=None)
        if below is None or above is None:
            nearest = below or above
            return self.seconds[nearest] * rows / nearest if nearest else 0.0
        share = (rows - below) / (above - below)
        return self.seconds[below] + share * (self.seconds[above] - self.seconds[below])

    @property
    def smallest(self) -> int:
        return min(self.seconds)

    @property
    def largest(self) -> int:
        return max(self.seconds)


class Policy:
    """Least remaining work first, aged; company only while a pass is cheaper per row than apart."""

    def __init__(self, max_rows: int = 16, worth_it: float = 0.97) -> None:
        """`worth_it`: company must bring the time per row below this share of what it is apart."""
        self._max_rows = max_rows
        self._worth_it = worth_it
        self._curves: dict[Hashable, _Curve] = {}

    def observe(self, key: Hashable, rows: int, seconds: float) -> None:
        """Learn what a pass of `rows` rows took."""
        self._curves.setdefault(key, _Curve({})).observe(rows, seconds)
        if len(self._curves) > KINDS_KEPT:
            del self._curves[next(iter(self._curves))]

    def choose(self, waiting: Sequence[T], now: float) -> list[T]:
        """The calls of the next pass, all of one key, most urgent first; empty if none waits."""
        if not waiting:
            return []
        ranked = sorted(waiting, key=lambda call: self._urgency(call, now))
        lead = ranked[0]
        return self._company(lead, (call for call in ranked[1:] if call.key == lead.key))

    def _urgency(self, call: Waiting, now: float) -> tuple[int, float, float]:
        # Encoding and decoding are short, and end a job or bring company to the next pass.
        if call.stage is not Stage.DENOISE:
            return 0, -call.stage, call.arrived
        work = call.steps_left * self._seconds(call.key, call.rows)
        return 1, work - AGEING * (now - call.arrived), call.arrived

    def _seconds(self, key: Hashable, rows: int) -> float:
        curve = self._curves.get(key)
        return curve.at(rows) if curve else 0.0

    def _company(self, lead: T, others: Iterable[T]) -> list[T]:
        together, rows = [lead], lead.rows
        best = 1
        for call in others:
            if rows + call.rows > self._max_rows:
                break
            together.append(call)
            rows += call.rows
            if self._cheaper(lead, rows):
                best = len(together)
        return together[:best]

    def _cheaper(self, lead: Waiting, rows: int) -> bool:
        """Is a pass of `rows` rows cheaper per row than a small one? Untried sizes are tried."""
        curve = self._curves.get(lead.key)
        if curve is None:
            return rows <= 2 * lead.rows
        known = min(rows, curve.largest)
        alone = lead.rows if lead.rows in curve.seconds else curve.smallest
        if known <= alone:
            return rows <= 2 * curve.largest
        gains = curve.at(known) / known <= self._worth_it * curve.at(alone) / alone
        return gains and rows <= 2 * curve.largest
