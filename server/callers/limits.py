"""What single callers may use: images a minute, and images that wait or run at once.

Pure bookkeeping with the time given from outside, in seconds. Knows callers and numbers; not keys,
jobs or HTTP.
"""

import random
from collections import defaultdict
from dataclasses import dataclass, field

from server.callers.callers import Caller
from server.errors import RateLimited, Reason
from server.retries import PendingRetries, Random

_MINUTE_S = 60.0
_ROUNDING = 1e-9


@dataclass(slots=True)
class Pace:
    """The seconds between two images of a caller, while it has some: measured, and forgotten."""

    seconds: float = 1.0
    measured: int = 0
    last: float = 0.0

    def finished(self, now: float) -> None:
        """One more: the mean of the first few, later an exponential one."""
        self.measured += 1
        weight = max(0.1, 1 / self.measured)
        self.seconds += weight * (now - self.last - self.seconds)
        self.last = now


@dataclass(slots=True)
class _Use:
    """What one caller has used."""

    spent: float = 0.0
    """Images of the minute's allowance, as they were at `at`; they come back evenly."""
    at: float = 0.0
    held: int = 0
    """Images that wait or run."""
    pace: Pace = field(default_factory=Pace)
    retries: PendingRetries = field(default_factory=PendingRetries)

    def spent_by(self, now: float, a_minute: int) -> float:
        """What of the allowance is spent at a time."""
        return max(0.0, self.spent - (now - self.at) * a_minute / _MINUTE_S)

    def refusal(
        self,
        reason: Reason,
        where: str,
        limit: int,
        used: float,
        requested: int,
        each_s: float,
        now: float,
    ) -> RateLimited:
        """Refuse a request, behind those that were refused before it."""
        wait_s = (used + requested - limit) * each_s
        exact = reason == "key_images_per_minute"
        delay_s = self.retries.delay(requested, wait_s, each_s, limit, now, exact=exact)
        return RateLimited(reason, where, limit, used, requested, each_s, delay_s)


class Limits:
    """The use that every caller has made of what it may."""

    def __init__(self, rand: Random = random.random) -> None:
        self._uses: defaultdict[str, _Use] = defaultdict(lambda: _Use(retries=PendingRetries(rand)))

    def check(self, caller: Caller, images: int, model: str, now: float) -> None:
        """Raises RateLimited, with the wait until so many images could be taken; uses nothing.

        No wait helps a request for more than `caller.most_at_once`: refuse it otherwise.
        """
        use = self._uses[caller.name]
        if (limit := caller.images_per_minute) is not None:
            spent, each_s = use.spent_by(now, limit), _MINUTE_S / limit
            if spent + images > limit + _ROUNDING:
                where = f"{model} on images per min"
                raise use.refusal("key_images_per_minute", where, limit, spent, images, each_s, now)
        if (limit := caller.in_queue) is not None and use.held + images > limit:
            where, each_s = f"{model} on images in queue", use.pace.seconds
            raise use.refusal("key_images_in_queue", where, limit, use.held, images, each_s, now)

    def take(self, caller: Caller, images: int, now: float) -> None:
        """So many images were accepted."""
        use = self._uses[caller.name]
        if caller.images_per_minute is not None:
            use.spent = use.spent_by(now, caller.images_per_minute) + images
            use.at = now
        if not use.held:
            use.pace.last = now
        use.held += images

    def left(self, caller: Caller, made: bool, now: float) -> None:
        """One of the accepted images does not wait or run any more: it is made, or given up."""
        use = self._uses[caller.name]
        use.held -= 1
        if made:
            use.pace.finished(now)

    def held(self, caller: Caller) -> int:
        """How many images of a caller wait or run."""
        return self._uses[caller.name].held
