"""The memory, the errors and the waits of pretended CUDA devices."""

import ctypes
import os
import sys
import threading
import time
import traceback
import weakref
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

settings = SimpleNamespace(record_lines=False, delay_copies=True, pace=0.0)
"""`record_lines`: count waits by line in `wait_lines`. `delay_copies`: a non-blocking copy to
pinned memory arrives when the host waits, and is garbage until then. `pace`: seconds that each
kernel of the `paced_threads` occupies its stream."""
paced_threads: set[int] = set()
waits: Counter[str] = Counter()
"""Number of waits by kind (`item`, `nonzero`, `d2h`, `h2d`, `synchronize`, `event`), and of copies
that do not wait (`h2d async`, `d2h async`, `peer`)."""
wait_lines: Counter[tuple[str, str]] = Counter()
"""Number of waits by kind and line."""
failures: list[tuple[Callable[[Any, Any], bool], Exception]] = []
"""(predicate(func, args), exception): the next call for which a predicate holds raises, once."""
cards: list["Card"] = []
lock = threading.RLock()
pending_copies: list[tuple[torch.Tensor, torch.Tensor]] = []
"""(destination on the host, its future content)."""
threads = threading.local()
_defaults: dict[int, Any] = {}
_busy_until: dict[tuple[int, int], float] = {}
_LIBRARIES = ("diffusers", "transformers", "peft")


class Native:
    """The C++ part, loaded by `install`."""

    library: ctypes.CDLL

    @classmethod
    def current(cls) -> int:
        return int(cls.library.pretend_get())

    @classmethod
    def set_current(cls, index: int) -> None:
        cls.library.pretend_set(index)


class Card:
    """One device. `taken`: bytes used by other processes; `doomed`: the error that the next wait
    meets; `lost`: the error that every call raises."""

    def __init__(self, index: int, total: int) -> None:
        self.index, self.total, self.taken, self.fraction = index, total, 0, 1.0
        self.live = self.peak = self.reserved = self.allocations = 0
        self.lost: str | None = None
        self.doomed: str | None = None

    @property
    def room(self) -> float:
        return min(self.total * self.fraction, self.total - self.taken)

    def allocate(self, size: int) -> None:
        """Raises torch.OutOfMemoryError."""
        with lock:
            self.allocations += 1
            read_control_files(self)
            if self.live + size > self.room:
                raise torch.OutOfMemoryError(
                    f"CUDA out of memory. Tried to allocate {size / 2**20:.2f} MiB. "
                    f"GPU {self.index} has a total capacity of {self.total / 2**30:.2f} GiB of "
                    f"which {max(0, self.room - self.live) / 2**20:.2f} MiB is free."
                )
            self.live += size
            self.peak, self.reserved = max(self.peak, self.live), max(self.reserved, self.live)


class Block:
    """An allocation, freed with its last tensor; a multiple of 512 bytes, as in torch."""

    __slots__ = ("__weakref__", "card", "size")

    def __init__(self, card: Card, size: int) -> None:
        self.card: Card | None = None  # `__del__` also runs if `allocate` raises
        self.size = -(-size // 512) * 512
        card.allocate(self.size)
        self.card = card

    def __del__(self) -> None:
        if self.card is not None:
            with lock:
                self.card.live -= self.size


_blocks: weakref.WeakValueDictionary[int, Block] = weakref.WeakValueDictionary()


def block_of(storage: Any, index: int) -> Block:
    """The allocation for a storage, shared by all of its views."""
    with lock:
        block = _blocks.get(storage._cdata)
        if block is None:
            block = _blocks[storage._cdata] = Block(cards[index], storage.nbytes())
    return block


def read_control_files(card: Card) -> None:
    """Obey files in the folder PRETEND_CUDA_FILES: the way to reach devices of other processes.

    `taken.0` holds the bytes that others use of device 0; `doom.0` the text of its next error.
    """
    folder = os.environ.get("PRETEND_CUDA_FILES")
    if not folder:
        return
    taken, doom = Path(folder, f"taken.{card.index}"), Path(folder, f"doom.{card.index}")
    if taken.exists():
        card.taken = int(taken.read_text() or 0)
    if doom.exists():
        try:
            card.doomed = doom.read_text() or "an illegal memory access was encountered"
            doom.unlink()
        except OSError:
            pass


def cuda_error(text: str) -> Exception:
    """The exception that torch raises for a CUDA error."""
    return torch.AcceleratorError(
        f"CUDA error: {text}\nCUDA kernel errors might be asynchronously reported at some other "
        "API call, so the stacktrace below might be incorrect.\n"
        "For debugging consider passing CUDA_LAUNCH_BLOCKING=1"
    )


def require_working(index: int) -> None:
    """Raise if the device is lost."""
    error = cards[index].lost
    if error:
        raise cuda_error(error)


def deliver_copies() -> None:
    """Complete all non-blocking copies to the host."""
    with lock:
        arrived, pending_copies[:] = list(pending_copies), []
    for place, content in arrived:
        place.copy_(content)


def wait(kind: str, index: int = 0, until: float | None = None, stream: Any = None) -> None:
    """Count a wait of the host for a device, raise what failed before, complete copies."""
    waits[kind] += 1
    if settings.record_lines:
        wait_lines[kind, _line()] += 1
    if settings.pace:
        if until is None:
            until = idle_at(index, kind == "synchronize" and stream is None, stream)
        time.sleep(max(0.0, until - time.perf_counter()))
    Event.epoch += 1
    card = cards[index]
    read_control_files(card)
    if card.doomed and not card.lost:
        card.lost, card.doomed = card.doomed, None
    require_working(index)
    deliver_copies()


def _line() -> str:
    """The innermost line of a library that knows models, else of darkroom."""
    ours = None
    for frame in reversed(traceback.extract_stack(sys._getframe(2))):
        where = f"{'/'.join(frame.filename.split('/')[-3:])}:{frame.lineno} {frame.line}"
        if any(f"/{name}/" in frame.filename for name in _LIBRARIES):
            return where
        if ours is None and ("/pipelines/" in frame.filename or "/bench/" in frame.filename):
            ours = where
    return ours or "?"


def count_kernel(index: int) -> None:
    """Occupy the current stream for `settings.pace` seconds, if this thread is paced."""
    if settings.pace and threading.get_ident() in paced_threads:
        now, key = time.perf_counter(), (index, current_stream(index).stream_id)
        _busy_until[key] = max(now, _busy_until.get(key, now)) + settings.pace


def idle_at(index: int, whole: bool = False, stream: Any = None) -> float:
    """When a stream, or the whole device, has finished its kernels."""
    if whole:
        ends = [end for (card, _), end in list(_busy_until.items()) if card == index]
        return max(ends, default=0.0)
    return _busy_until.get((index, (stream or current_stream(index)).stream_id), 0.0)


def index_of(device: Any = None) -> int:
    """The number of a device; None: the current one. Raises for one that does not exist."""
    if device is not None and not isinstance(device, int):
        device = torch.device(device).index
    if device is None or device < 0:
        return Native.current()
    if device >= len(cards):
        raise cuda_error(
            "invalid device ordinal\nGPU device may be out of range, do you have enough GPUs?"
        )
    return int(device)


class Stream:
    """A CUDA stream. Its work is done at once, in the order of the calls."""

    def __init__(self, device: Any = None, priority: int = 0, **_: Any) -> None:
        self.device = torch.device("cuda", index_of(device))
        self.device_index, self.stream_id = self.device.index, id(self)
        self.cuda_stream = self.stream_id

    def synchronize(self) -> None:
        wait("synchronize", self.device_index, stream=self)

    def query(self) -> bool:
        return True

    def wait_stream(self, other: Any) -> None: ...

    def wait_event(self, event: Any) -> None: ...

    def record_event(self, event: Any = None) -> Any:
        event = event or Event()
        event.record(self)
        return event

    def __enter__(self) -> Any:
        self._context = StreamContext(self)
        return self._context.__enter__()

    def __exit__(self, *_: object) -> None:
        self._context.__exit__()


class StreamContext:
    """torch.cuda.stream."""

    def __init__(self, stream: Stream | None) -> None:
        self.stream = stream

    def __enter__(self) -> Stream | None:
        if self.stream is not None:
            self._before = getattr(threads, "streams", {}).get(self.stream.device_index)
            set_stream(self.stream)
        return self.stream

    def __exit__(self, *_: object) -> None:
        if self.stream is not None:
            threads.streams[self.stream.device_index] = self._before


def set_stream(stream: Stream) -> None:
    """Set the current stream of this thread."""
    if not hasattr(threads, "streams"):
        threads.streams = {}
    threads.streams[stream.device_index] = stream


def default_stream(device: Any = None) -> Any:
    """The default stream of a device."""
    index = index_of(device)
    if index not in _defaults:
        _defaults[index] = Stream(index)
    return _defaults[index]


def current_stream(device: Any = None) -> Any:
    """The current stream of this thread."""
    return getattr(threads, "streams", {}).get(index_of(device)) or default_stream(device)


class Event:
    """A CUDA event. Its time is known once the host has waited for it, or for later work."""

    epoch = 0
    """Number of waits so far."""

    def __init__(
        self,
        enable_timing: bool = False,
        blocking: bool = False,
        interprocess: bool = False,
        **_: Any,
    ) -> None:
        self._timing = enable_timing
        self._at: float | None = None
        self._recorded = -1
        self._device = 0

    def record(self, stream: Any = None) -> None:
        stream = stream or current_stream()
        self._device = stream.device_index
        require_working(self._device)
        self._at, self._recorded = time.perf_counter(), Event.epoch
        if settings.pace:
            self._at = max(self._at, idle_at(self._device, stream=stream))

    def query(self) -> bool:
        self._recorded = -1
        return True

    def synchronize(self) -> None:
        if self._at is not None:
            wait("event", self._device, self._at)
            self._recorded = -1

    def wait(self, stream: Any = None) -> None: ...

    def elapsed_time(self, end: "Event") -> float:
        if not (self._timing and end._timing):
            raise RuntimeError("Both events must be created with argument 'enable_timing=True'.")
        if self._at is None or end._at is None:
            raise RuntimeError("Both events must be recorded before calculating elapsed time.")
        if end._recorded == Event.epoch:
            raise cuda_error("device not ready")
        return 1000 * (end._at - self._at)
