"""Who goes next: parked calls in, the next pass out.

Pure Python: no torch, no clock of its own, no knowledge of what a call computes. The same code can
therefore be driven by an engine or by a simulation.
"""

from collections.abc import Iterable, Sequence
from math import inf
from typing import Protocol, TypeVar

from pipelines.lanes.joins import Stage
from pipelines.scheduling.curves import Curve, Curves
from pipelines.scheduling.shares import Shares, Waits

MOST_ROWS = 16
STRETCH = 1.25
"""Where callers meet in a pass, what each brings beyond one call may make it longer by this."""


class Waiting(Waits, Protocol):
    """What the policy sees of a parked call."""

    @property
    def key(self) -> str: ...
    @property
    def alone(self) -> bool: ...
    @property
    def stage(self) -> Stage: ...
    @property
    def rows(self) -> int: ...
    @property
    def steps_left(self) -> int: ...
    @property
    def awaited(self) -> bool: ...


T = TypeVar("T", bound=Waiting)


class Policy:
    """Least remaining work first, in fair shares; company while it saves more time than it costs.

    A call that joins a pass makes it longer for those who are in it, and saves those who stay
    behind a pass of its own. So more rows go together the more calls are parked, and only as far
    as a pass is cheaper per row.
    """

    def __init__(self, curves: Curves | None = None, most_rows: int = MOST_ROWS) -> None:
        self.curves = curves or Curves()
        self._shares = Shares()
        self._most_rows = most_rows

    def choose(self, waiting: Sequence[T], now: float, free: float = inf) -> list[T]:
        """The calls of the next pass, all of one key, most urgent first; empty if none waits.

        `free` is the memory in bytes that a pass may take.
        """
        if not waiting:
            return []
        ranked = self._ranked(waiting, now)
        lead, *others = ranked
        if lead.alone or not self.curves[lead.key].knows(lead.rows):
            return [lead]
        fitting = [call for call in others if call.key == lead.key]
        return self._company(lead, fitting, len(waiting), free)

    def ran(self, calls: Sequence[T], seconds: float, memory: float = 0.0) -> None:
        """Learn what a pass took, in seconds and bytes, and charge its callers for their rows."""
        rows = sum(call.rows for call in calls)
        self.curves[calls[0].key].observe(rows, seconds, memory)
        for call in calls:
            self._shares.charge(call.caller, call.weight, seconds * call.rows / rows)

    def too_large(self, calls: Sequence[T]) -> None:
        """A pass did not fit into memory: from now on, at most half of its rows run together."""
        self.curves[calls[0].key].too_large(sum(call.rows for call in calls))

    def predicted(self, calls: Sequence[T]) -> float:
        """The seconds that a pass should take; 0 for one of a kind that was never measured."""
        return self.curves[calls[0].key].at(sum(call.rows for call in calls))

    def _ranked(self, waiting: Sequence[T], now: float) -> list[T]:
        # Encoding and decoding are short, and end a job or bring company to the next pass.
        between = [call for call in waiting if call.stage is not Stage.DENOISE]
        steps = [call for call in waiting if call.stage is Stage.DENOISE]
        between.sort(key=lambda call: (-call.stage, call.arrived))
        return between + self._shares.order(steps, self._work, now)

    def _work(self, call: Waiting) -> float:
        """The seconds that are left of a job; to somebody who watches, those of its first step."""
        return self.curves[call.key].at(call.rows) * (1 if call.awaited else call.steps_left)

    def _company(self, lead: T, others: Iterable[T], parked: int, free: float) -> list[T]:
        """The lead with those of the others, in order, that save the most seconds in all."""
        curve = self.curves[lead.key]
        # What was never tried is tried by doubling.
        most = min(self._most_rows, curve.most_rows(free), 2 * curve.largest)
        together, rows, saved, best = [lead], lead.rows, 0.0, (0.0, 1)
        for call in others:
            if rows + call.rows > most:
                break
            if _crowds(call, together, curve):
                continue
            longer = curve.expected(rows + call.rows) - curve.expected(rows)
            apart = curve.expected(call.rows)
            behind = parked - len(together)
            saved += (apart - longer) * behind - longer * len(together)
            together.append(call)
            rows += call.rows
            best = max(best, (saved, len(together)))
        return together[: best[1]]


def _crowds(call: T, together: Sequence[T], curve: Curve) -> bool:
    """Would one caller's further call slow down what others have in the pass too much?"""
    firsts = {one.caller: one.rows for one in reversed(together)}
    if call.caller not in firsts or len(firsts) == 1:
        return False
    with_it = sum(one.rows for one in together) + call.rows
    return curve.at(with_it) > STRETCH * curve.at(sum(firsts.values()))
