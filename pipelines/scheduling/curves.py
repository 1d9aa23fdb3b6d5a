"""How long passes take, by their rows, and how many rows fit: measured, never assumed.

Pure bookkeeping. Knows neither who waits nor what a pass computes; whoever runs passes tells it.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

KINDS_KEPT = 4096
NEWEST = 0.2
"""The weight of the newest measurement, against all before it."""

BELIEVED_FOR = 200
"""After so many passes of a kind, that of its lead alone is measured again. A cap is doubled."""

MAX_CAP = 64
"""A cap of so many rows is none."""


@dataclass(slots=True)
class Curve:
    """The measured seconds of one kind of pass, by its rows, and what limits them."""

    seconds: dict[int, float] = field(default_factory=dict)
    cap: int | None = None
    """The most rows that are tried: more did not fit into memory."""
    row_bytes: float = 0.0
    """Memory that a pass takes for each row, beside the weights: a peak that fades."""
    _passes: int = 0
    _capped_at: int = 0
    """The number of passes when `cap` was set."""
    _last: dict[int, int] = field(default_factory=dict)

    def observe(self, rows: int, seconds: float, memory: float = 0.0) -> None:
        """A pass of so many rows took so long, and so many bytes at its peak."""
        known = self.seconds.get(rows, seconds)
        # The first pass of a shape pays for allocations and kernels that later ones find ready.
        self.seconds[rows] = min(known + NEWEST * (seconds - known), 2 * seconds)
        if memory:
            newest = memory / rows
            faded = self.row_bytes + NEWEST * (newest - self.row_bytes)
            self.row_bytes = max(newest, faded)
        self._passes += 1
        self._last[rows] = self._passes
        self._retry_cap()

    def too_large(self, rows: int) -> None:
        """A pass of so many rows did not fit: for a while, at most half of them run together."""
        self.cap = max(1, min(rows // 2, self.cap or rows))
        self._capped_at = self._passes

    def _retry_cap(self) -> None:
        """Allow twice the rows again after many passes: memory may be free that was not then."""
        if self.cap is not None and self._passes - self._capped_at >= BELIEVED_FOR:
            self.cap = 2 * self.cap
            self._capped_at = self._passes
            if self.cap >= MAX_CAP:
                self.cap = None

    def knows(self, rows: int) -> bool:
        """Whether a pass of so many rows was measured, and not too many passes ago.

        What company is compared with must not be a time from when the device was busy otherwise.
        """
        return rows in self.seconds and self._passes - self._last.get(rows, 0) < BELIEVED_FOR

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

    def most_rows(self, free: float) -> float:
        """The most rows of a pass in so many bytes; one always is tried."""
        fit = free // self.row_bytes if self.row_bytes else float("inf")
        return max(1, min(fit, self.cap or float("inf")))

    def expected(self, rows: int) -> float:
        """As `at`; beyond what was measured, in hope: as much longer a row as between the extremes.

        A single measurement hopes that further rows cost nothing.
        """
        least, largest = min(self.seconds), max(self.seconds)
        if rows <= largest:
            return self.at(rows)
        rise = self.seconds[largest] - self.seconds[least]
        a_row = max(0.0, rise / (largest - least)) if rise else 0.0
        return self.seconds[largest] + (rows - largest) * a_row

    @property
    def largest(self) -> int:
        """The most rows that were measured."""
        return max(self.seconds, default=0)


class Curves:
    """A curve for each kind of pass; the ones that were not seen for longest are forgotten."""

    make: type[Curve] = Curve

    def __init__(self, known: Mapping[str, Curve] | None = None) -> None:
        self._curves = OrderedDict(known or {})

    def __getitem__(self, key: str) -> Curve:
        """The curve of a kind, empty if it was never seen."""
        curve = self._curves.get(key)
        if curve is None:
            curve = self._curves[key] = self.make()
            if len(self._curves) > KINDS_KEPT:
                self._curves.popitem(last=False)
        self._curves.move_to_end(key)
        return curve

    def all(self) -> dict[str, Curve]:
        """Every kind with its curve."""
        return {key: curve for key, curve in self._curves.items() if curve.seconds or curve.cap}
