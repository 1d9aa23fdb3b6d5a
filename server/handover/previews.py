"""The previews of one request that wait to be sent.

Bounded: before a reader who is too slow for them, the oldest give way. Knows no connection.
"""

from collections import deque

from pipelines.core import Preview

MOST_BYTES = 32 << 20


class Previews:
    """What was shown of each image, in the order in which it was shown."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._waiting: deque[tuple[int, Preview]] = deque()
        self._next: dict[int, int] = {}

    def add(self, image: int, preview: Preview) -> None:
        """Keep it, if it is news: an image that is made again shows some previews again."""
        if preview.index < self._next.get(image, 0):
            return
        self._next[image] = preview.index + 1
        self._waiting.append((image, preview))
        while self._bytes() > self._most_bytes and len(self._waiting) > 1:
            self._waiting.popleft()

    def take(self, image: int) -> Preview | None:
        """The oldest one of an image that waits."""
        for position, (owner, preview) in enumerate(self._waiting):
            if owner == image:
                del self._waiting[position]
                return preview
        return None

    def _bytes(self) -> int:
        return sum(len(preview.image.pixels) for _, preview in self._waiting)
