"""What the queue takes: so many images, and so many predicted seconds; pure arithmetic.

Knows neither who asks nor what waits, only how much. Limits of single callers are elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from server.errors import QueueFull


@dataclass(frozen=True, slots=True)
class Admission:
    """The bounds of the queue, over all callers."""

    most_images: int
    most_wait_s: float

    def check(
        self, ahead: int, wait_s: float, work_s: Sequence[float], workers: int,
        within_s: float, measured: bool,
    ) -> None:  # fmt: skip
        """`ahead` images are `wait_s` away from being finished, and so much more is asked for.

        Raises QueueFull with the seconds until there will be room.
        """
        over = ahead + len(work_s) - self.most_images
        if over > 0:
            raise QueueFull(wait_s * min(1.0, over / ahead) if ahead else 1.0)
        # Never by a mere guess, and never where nothing is ahead: waiting would not help.
        if ahead and measured:
            late_s = wait_s + sum(work_s) / workers - min(within_s, self.most_wait_s)
            if late_s > 0 and wait_s > 0:
                raise QueueFull(min(wait_s, late_s), "queue_seconds")
