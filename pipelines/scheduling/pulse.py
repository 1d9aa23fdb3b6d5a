"""Does a worker hang? A clock in memory that its server can read.

The worker notes by when what it is about should be over, and how many messages it has heard; the
server looks. Linux's monotonic clock is one for all processes. Knows neither passes nor processes.
"""

import mmap
import os
import struct
import time
from collections import deque

_DEADLINE, _HEARD = struct.Struct("=d"), struct.Struct("=Q")
_SIZE = _DEADLINE.size + _HEARD.size
AT_REST = 0.0
TIMES_LONGER = 20.0
"""A pass that takes so many times what it should hangs."""

LEAST_S = 15.0
NEVER_MEASURED_S = 900.0
"""The first pass of a kind may compile kernels, or find a slow machine."""

UNHEARD_S = 60.0
"""A worker that has nothing to do, and does not hear for so long what it is told, hangs."""


class Pulse:
    """The end of patience with the present pass; shared by the worker and its server."""

    def __init__(self, fd: int | None = None) -> None:
        """`fd`: the memory that another process made with `descriptor`."""
        self._fd = os.memfd_create("pulse") if fd is None else fd
        if fd is None:
            os.truncate(self._fd, _SIZE)
        self._shared = mmap.mmap(self._fd, _SIZE)
        self._patience = deque([LEAST_S], maxlen=2)
        self._heard = 0

    @property
    def descriptor(self) -> int:
        """To be handed to the other process."""
        return self._fd

    def hear(self) -> None:
        """One more message was heard."""
        self._heard += 1
        _HEARD.pack_into(self._shared, _DEADLINE.size, self._heard)

    def begin(self) -> None:
        """Something begins of which nobody knows how long it takes."""
        self._expect(NEVER_MEASURED_S)

    def beat(self, predicted_s: float) -> None:
        """A pass begins that should take so long; 0 if nobody knows."""
        known = max(LEAST_S, TIMES_LONGER * predicted_s)
        self._patience.append(known if predicted_s else NEVER_MEASURED_S)
        self.go_on()

    def go_on(self) -> None:
        """A job goes on after its pass. On CUDA that, and the one before, may be running still."""
        self._expect(max(self._patience))

    def rest(self) -> None:
        """There is nothing to do."""
        _DEADLINE.pack_into(self._shared, 0, AT_REST)

    @property
    def heard(self) -> int:
        """How many messages were heard."""
        (heard,) = _HEARD.unpack_from(self._shared, _DEADLINE.size)
        return int(heard)

    @property
    def resting(self) -> bool:
        """Whether there is nothing to do."""
        return self._deadline == AT_REST

    def overdue(self, now: float) -> bool:
        """Whether a pass is far beyond its time."""
        deadline = self._deadline
        return deadline != AT_REST and now > deadline

    def close(self) -> None:
        """Give the memory back."""
        self._shared.close()
        os.close(self._fd)

    @property
    def _deadline(self) -> float:
        (deadline,) = _DEADLINE.unpack_from(self._shared)
        return float(deadline)

    def _expect(self, within_s: float) -> None:
        _DEADLINE.pack_into(self._shared, 0, time.monotonic() + within_s)
