"""What takes long, done once in a thread beside the lanes: LoRA files, read and checked.

Knows threads; not what is read, nor for whom.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Reader:
    """Reads one thing after the other. All but `read` and `changed` belongs to one thread."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """`changed` is called from the thread whenever something was read."""
        self._changed = changed
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read")
        self._reads: dict[str, Future[None]] = {}

    def has_read(self, name: str, read: Callable[[], None]) -> bool:
        """Whether something was read; if it is not known yet, that begins now.

        Raises what came of it, once: asked again after that, it is read again.
        """
        if self._ended(name):
            return True
        if name not in self._reads:
            self._reads[name] = self._thread.submit(read)
            self._reads[name].add_done_callback(lambda _: self._changed())
        return False

    def take(self, name: str) -> bool:
        """Whether something was read and not taken yet. Raises what came of it."""
        known = self._ended(name)
        self._reads.pop(name, None)
        return known

    def _ended(self, name: str) -> bool:
        future = self._reads.get(name)
        if future is None or not future.done():
            return False
        if error := future.exception():
            del self._reads[name]
            raise error
        return True
