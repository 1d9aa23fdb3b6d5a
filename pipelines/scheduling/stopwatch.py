"""How long a pass took on its device.

On CUDA a pass is only queued when its call returns: its time is read later, from events, without
making the host wait for the pass that is running.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from typing import Any, Protocol, TypeVar

import torch

T = TypeVar("T")
Measured = Callable[[float, float], None]
"""(seconds, bytes at the peak beside what was there before, 0 where that is not known)."""


class Loads:
    """The loads of models that run in other threads of this process, beside passes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self._begun = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """One more load, for as long as this lasts."""
        with self._lock:
            self._running += 1
            self._begun += 1
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1

    @property
    def active(self) -> bool:
        """Return whether a load is running."""
        return self._running > 0

    @property
    def begun(self) -> int:
        """Return the number of loads so far."""
        return self._begun


LOADS = Loads()
"""Those of this process. Their memory cannot be told from that of a pass."""


class Stopwatch(Protocol):
    """Measures passes; `settle` returns once at most so many are still running on the device."""

    def time(self, work: Callable[[], T], measured: Measured) -> T: ...

    def settle(self, running: int = 1) -> None: ...

    def free(self) -> float:
        """Bytes that a pass may take."""
        ...


class HostStopwatch:
    """For devices on which a call returns when its work is done."""

    def time(self, work: Callable[[], T], measured: Measured) -> T:
        begun = time.perf_counter()
        answer = work()
        measured(time.perf_counter() - begun, 0.0)
        return answer

    def settle(self, running: int = 1) -> None:
        """Nothing is ever running."""

    def free(self) -> float:
        """The host's memory is not measured."""
        return inf


class CudaStopwatch:
    """For CUDA: the next pass is chosen while the last one runs, and never further ahead."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._stream = torch.cuda.current_stream(device)
        self._running: deque[tuple[Any, Any, float, Measured]] = deque()

    def time(self, work: Callable[[], T], measured: Measured) -> T:
        begun, ended = torch.cuda.Event(True), torch.cuda.Event(True)  # type: ignore[no-untyped-call]
        quiet, loads = not LOADS.active, LOADS.begun
        before = torch.cuda.memory_allocated(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        begun.record(self._stream)
        answer = work()
        ended.record(self._stream)
        memory = torch.cuda.max_memory_allocated(self._device) - before
        if not quiet or LOADS.begun != loads:
            memory = 0
        self._running.append((begun, ended, memory, measured))
        return answer

    def settle(self, running: int = 1) -> None:
        while len(self._running) > running:
            begun, ended, memory, measured = self._running.popleft()
            ended.synchronize()
            measured(begun.elapsed_time(ended) / 1000, memory)

    def free(self) -> float:
        """What the device has left, and what the allocator holds unused."""
        left, total = torch.cuda.mem_get_info(self._device)
        allowed = total * torch.cuda.get_per_process_memory_fraction(self._device)
        reachable = min(allowed, left + torch.cuda.memory_reserved(self._device))
        return reachable - torch.cuda.memory_allocated(self._device)


def stopwatch(device: str) -> Stopwatch:
    """The one that fits a device, such as `cpu` or `cuda:1`."""
    return CudaStopwatch(device) if device.startswith("cuda") else HostStopwatch()
