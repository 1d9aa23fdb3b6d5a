"""How long a pass took on its device.

On CUDA a pass is only queued when its call returns: its time is read later, from events, without
making the host wait for the pass that is running.
"""

import time
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any, Protocol, TypeVar

import torch

T = TypeVar("T")
Measured = Callable[[float, float], None]
"""(seconds, bytes at the peak beside what was there before, 0 where that is not known)."""


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
        before = torch.cuda.memory_allocated(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        begun.record(self._stream)
        answer = work()
        ended.record(self._stream)
        memory = torch.cuda.max_memory_allocated(self._device) - before
        self._running.append((begun, ended, memory, measured))
        return answer

    def settle(self, running: int = 1) -> None:
        while len(self._running) > running:
            begun, ended, memory, measured = self._running.popleft()
            ended.synchronize()
            measured(begun.elapsed_time(ended) / 1000, memory)

    def free(self) -> float:
        """What the device has left, and what the allocator holds unused."""
        left, _ = torch.cuda.mem_get_info(self._device)
        reserved = torch.cuda.memory_reserved(self._device)
        return left + reserved - torch.cuda.memory_allocated(self._device)


def stopwatch(device: str) -> Stopwatch:
    """The one that fits a device, such as `cpu` or `cuda:1`."""
    return CudaStopwatch(device) if device.startswith("cuda") else HostStopwatch()
