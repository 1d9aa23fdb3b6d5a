"""Does a worker hang, and what had it begun when it died? Memory that its server can read.

The worker notes by when what it is about should be over, and how many messages it has heard; the
server looks. Linux's monotonic clock is one for all processes. Knows neither passes nor processes.
Marks of started work are written before the work starts, so that they outlive a sudden SIGKILL.
"""

import mmap
import os
import struct
import time
from collections import deque

_DEADLINE, _HEARD = struct.Struct("=d"), struct.Struct("=Q")
_RECEIVING, _LOADING = struct.Struct("=B"), struct.Struct("=i")
_RECEIVING_AT = _DEADLINE.size + _HEARD.size
_LOADING_AT = _RECEIVING_AT + _RECEIVING.size
_SLOTS_AT = _LOADING_AT + _LOADING.size
NUM_SLOTS = 128
"""The number of jobs of one worker that can be marked as started; more than a worker is given."""

NO_SLOT = -1
_SIZE = _SLOTS_AT + NUM_SLOTS
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
        self._slots: dict[str, int] = {}

    @property
    def descriptor(self) -> int:
        """To be handed to the other process."""
        return self._fd

    def receive(self) -> None:
        """Mark that the next message is being received and unpickled."""
        _RECEIVING.pack_into(self._shared, _RECEIVING_AT, 1)

    def hear(self) -> None:
        """One more message was heard."""
        self._heard += 1
        _HEARD.pack_into(self._shared, _DEADLINE.size, self._heard)
        _RECEIVING.pack_into(self._shared, _RECEIVING_AT, 0)

    def assign_slot(self, job_id: str, slot: int) -> None:
        """Remember the slot in which the start of a job is to be marked."""
        if slot != NO_SLOT:
            self._slots[job_id] = slot

    def start_job(self, job_id: str) -> None:
        """Mark a job as started. Must precede all work that is done for the job alone."""
        slot = self._slots.pop(job_id, NO_SLOT)
        if slot != NO_SLOT:
            self._shared[_SLOTS_AT + slot] = 1

    def forget_job(self, job_id: str) -> None:
        """Forget the slot of a job that was never started."""
        self._slots.pop(job_id, None)

    def clear_slot(self, slot: int) -> None:
        """Take back the mark of a slot, before another job gets it. Called by the server."""
        self._shared[_SLOTS_AT + slot] = 0

    def start_loading(self, index: int) -> None:
        """Mark that a model is being loaded: its index among the worker's models."""
        _LOADING.pack_into(self._shared, _LOADING_AT, index + 1)

    def end_loading(self) -> None:
        """Mark that no model is being loaded."""
        _LOADING.pack_into(self._shared, _LOADING_AT, 0)

    def is_started(self, slot: int) -> bool:
        """Whether the job in a slot was started; true if it has none."""
        return slot == NO_SLOT or self._shared[_SLOTS_AT + slot] == 1

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
    def receiving(self) -> bool:
        """Whether a message was being received."""
        return self._shared[_RECEIVING_AT] == 1

    @property
    def loading(self) -> int | None:
        """The index of the model that is being loaded."""
        (number,) = _LOADING.unpack_from(self._shared, _LOADING_AT)
        return number - 1 if number else None

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
