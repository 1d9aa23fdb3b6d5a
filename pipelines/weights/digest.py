"""A sha256 that is made beside reading and writing, not between them."""

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType


class Digest:
    """The sha256 of a stream of blocks, made by a thread that lives as long as the `with`."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hash")
        self._last: Future[None] | None = None

    def __enter__(self) -> "Digest":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.shutdown()

    def update(self, block: bytes) -> None:
        """Begin to hash a block, once the one before it is done."""
        if self._last is not None:
            self._last.result()
        self._last = self._thread.submit(self._digest.update, block)

    def hexdigest(self) -> str:
        """The hash of all blocks, in hexadecimal digits."""
        if self._last is not None:
            self._last.result()
        return self._digest.hexdigest()
