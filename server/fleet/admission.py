"""What the queue takes: so many images, and so many predicted seconds.

Knows neither who asks nor what waits, only how much. Limits of single callers are elsewhere.
"""

import time
from collections.abc import Callable

from server.errors import QueueFull, Reason
from server.retries import PendingRetries


class Admission:
    """The bounds of the queue, over all callers.

    Both checks raise QueueFull with the seconds until there will be room; what is ahead is
    `wait_s` away from being finished. Requests that are refused together are told to come back
    one after the other.
    """

    def __init__(
        self,
        max_images: int,
        max_wait_s: float,
        retries: PendingRetries | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_images, self._max_wait_s = max_images, max_wait_s
        self._retries = retries or PendingRetries()
        self._clock = clock

    def check_images(self, ahead: int, wait_s: float, asked: int, image_s: float) -> None:
        """So many images are ahead, of which each takes `image_s` in all, and so many more are
        asked for."""
        over = ahead + asked - self._max_images
        if over > 0:
            room_s = wait_s * min(1.0, over / ahead) if ahead else image_s
            raise self._refusal("queue_images", asked, room_s, image_s)

    def check_wait(self, wait_s: float, asked: int, asked_s: float, within_s: float) -> None:
        """So many images, of so many seconds, are asked for, and shall be over `within_s`.

        Where nothing is ahead, waiting would not help, and nothing is refused.
        """
        late_s = wait_s + asked_s - min(within_s, self._max_wait_s)
        if late_s > 0 and wait_s > 0:
            raise self._refusal("queue_seconds", asked, min(wait_s, late_s), asked_s / asked)

    def _refusal(self, reason: Reason, asked: int, room_s: float, image_s: float) -> QueueFull:
        now = self._clock()
        delay_s = self._retries.delay(asked, room_s, image_s, self._max_images, now)
        return QueueFull(room_s, reason, delay_s)
