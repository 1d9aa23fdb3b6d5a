"""Copies of weights to a device beside the passes that run there.

On the default stream of a CUDA device, a copy would wait for the passes that are queued before it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

STAGING_BYTES = 2**26
"""Size of each of the two pinned buffers through which weights go."""

_PLAIN = (torch.nn.Parameter, torch.nn.Buffer, torch.Tensor)
"""Types whose data can be replaced. Quantized parameters move themselves."""


class CopyStream:
    """A CUDA stream for weights, used by one thread. On other devices it copies as usual."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._cuda = device.startswith("cuda")
        self._stream: Any = None
        self._staging: _Staging | None = None
        self._freed: Any = None

    def freed(self) -> None:
        """Tell that memory of this stream is given up, though queued passes may still read it.

        The next copies wait for these passes.
        """
        if self._cuda:
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record(torch.cuda.default_stream(self._device))
            self._freed = event

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make this the current stream of the thread; at the end all of its work is done."""
        if not self._cuda:
            yield
            return
        if self._stream is None:
            self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        freed, self._freed = self._freed, None
        if freed is not None:
            self._stream.wait_event(freed)
        with torch.cuda.stream(self._stream):
            try:
                yield
            finally:
                self._stream.synchronize()
                self._staging = None

    def move(self, module: torch.nn.Module) -> None:
        """Move a module to the device, in place."""
        if self._cuda:
            for tensor in (*module.parameters(), *module.buffers()):
                self._stage(tensor)
        module.to(self._device)

    def _stage(self, tensor: torch.Tensor) -> None:
        plain = type(tensor) in _PLAIN and tensor.device.type == "cpu" and tensor.is_contiguous()
        if plain and not tensor.is_pinned():
            if self._staging is None:
                self._staging = _Staging(STAGING_BYTES)
            target = torch.empty(tensor.shape, dtype=tensor.dtype, device=self._device)
            self._staging.copy(_bytes_of(tensor.data), _bytes_of(target))
            tensor.data = target


class _Staging:
    """Two pinned buffers: one is filled while the device reads the other."""

    def __init__(self, size: int) -> None:
        self._size, self._used = size, 0
        self._buffers = [torch.empty(size, dtype=torch.uint8, pin_memory=True) for _ in range(2)]
        self._read = [torch.cuda.Event() for _ in range(2)]  # type: ignore[no-untyped-call]

    def copy(self, source: torch.Tensor, target: torch.Tensor) -> None:
        """Copy bytes to the device; returns as soon as all of them are in a buffer."""
        for begin in range(0, len(source), self._size):
            part = source[begin : begin + self._size]
            pinned = self._take(len(part)).copy_(part)
            target[begin : begin + self._size].copy_(pinned, non_blocking=True)

    def _take(self, size: int) -> torch.Tensor:
        if self._used + size > self._size:
            self._read[0].record()
            self._buffers.reverse()
            self._read.reverse()
            self._read[0].synchronize()
            self._used = 0
        taken = self._buffers[0][self._used : self._used + size]
        self._used += size
        return taken


def _bytes_of(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.reshape(-1).view(torch.uint8)
