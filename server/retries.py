"""When refused requests should be sent again: spread, so that they do not return together."""

import random
from collections import deque
from collections.abc import Callable, Mapping
from math import ceil

SDK_MAX_DELAY_S = 60.0
"""openai-node ignores a longer `retry-after` (so does openai-python before 2), backs off for a
second instead, and gives up."""
_SDK_RETRIES = 2
_MIN_DELAY_S = 0.1
_JITTER = 0.1
_MIN_JITTER_S = 0.5
_MARGIN = 0.1
_MARGIN_AFTER_MISS = 0.5
_MIN_PENDING = 32

Random = Callable[[], float]
"""Returns a number from 0 to 1."""


class PendingRetries:
    """Refused requests that were told when to come back, and are not due yet."""

    def __init__(self, rand: Random = random.random) -> None:
        self._rand = rand
        self._pending: deque[tuple[float, int]] = deque()

    def delay(
        self,
        images: int,
        wait_s: float,
        image_s: float,
        max_images: int,
        now: float,
        *,
        exact: bool = False,
    ) -> float:
        """Choose the seconds that a refused request is told to wait beyond `wait_s`.

        It goes behind the requests that were refused before it, by `image_s` for each of their
        images, plus jitter. A wait that is not `exact` but predicted gets a margin: one that was
        too short costs the client one of its few retries. The margin is larger when a retry has
        just fallen due and the queue is full still, since then predictions are too short.
        """
        came_too_early = self._drop_due(now)
        behind_s = min(self._images(), _max_pending(max_images)) * image_s
        planned_s = wait_s + behind_s
        delay_s = behind_s + self._rand() * max(_MIN_JITTER_S, _JITTER * planned_s)
        if not exact:
            delay_s += image_s + (_MARGIN_AFTER_MISS if came_too_early else _MARGIN) * planned_s
        self._pending.append((now + wait_s + delay_s, images))
        while len(self._pending) > _max_pending(max_images):
            self._pending.popleft()
        return delay_s

    def _drop_due(self, now: float) -> bool:
        before = len(self._pending)
        self._pending = deque(entry for entry in self._pending if entry[0] > now)
        return len(self._pending) < before

    def _images(self) -> int:
        return sum(images for _, images in self._pending)


def _max_pending(max_images: int) -> int:
    """Bound what clients that never return, or ignore what they are told, cost the others."""
    return max(_MIN_PENDING, 2 * max_images)


def retry_after_headers(delay_s: float) -> Mapping[str, str]:
    """Build the headers of an answer that may be asked for again.

    The official SDKs prefer `retry-after-ms`. They make two retries: a delay that is too long for
    one of them is split into two equal ones, and left alone if two would not reach either.
    """
    headers = {"Retry-After": str(max(1, ceil(delay_s)))}
    if delay_s <= SDK_MAX_DELAY_S * _SDK_RETRIES:
        first_s = delay_s if delay_s <= SDK_MAX_DELAY_S else delay_s / _SDK_RETRIES
        headers["retry-after-ms"] = str(ceil(1000 * max(_MIN_DELAY_S, first_s)))
    return headers


def jittered(delay_s: float, rand: Random = random.random) -> float:
    """Lengthen a fixed delay by up to a third, by chance."""
    return delay_s * (1 + rand() / 3)
