"""Is a worker still alive inside a pass? A clock in memory that its server can read.

The worker notes when it began its present pass, and by when it should be over; the server looks.
Linux's monotonic clock is one for all processes. Knows neither passes nor processes.
"""

import mmap
import os
import struct
import time

_FORMAT = struct.Struct("=d")
AT_REST = 0.0
TIMES_LONGER = 20.0
"""A pass that takes so many times what it should hangs."""

LEAST_S = 15.0
NEVER_MEASURED_S = 900.0
"""The first pass of a kind may compile kernels, or find a slow machine."""


class Pulse:
    """The end of patience with the present pass; shared by the worker and its server."""

    def __init__(self, fd: int | None = None) -> None:
        """`fd`: the memory that another process made with `descriptor`."""
        self._fd = os.memfd_create("pulse") if fd is None else fd
        if fd is None:
            os.truncate(self._fd, _FORMAT.size)
        self._shared = mmap.mmap(self._fd, _FORMAT.size)

    @property
    def descriptor(self) -> int:
        """To be handed to the other process."""
        return self._fd

    def beat(self, predicted_s: float) -> None:
        """A pass begins that should take so long; 0 if nobody knows."""
        patience = max(LEAST_S, TIMES_LONGER * predicted_s) if predicted_s else NEVER_MEASURED_S
        self._write(time.monotonic() + patience)

    def rest(self) -> None:
        """There is nothing to do."""
        self._write(AT_REST)

    def overdue(self, now: float) -> bool:
        """Whether a pass is far beyond its time."""
        (deadline,) = _FORMAT.unpack(self._shared[:])
        return bool(deadline != AT_REST and now > deadline)

    def close(self) -> None:
        """Give the memory back."""
        self._shared.close()
        os.close(self._fd)

    def _write(self, deadline: float) -> None:
        self._shared[:] = _FORMAT.pack(deadline)
