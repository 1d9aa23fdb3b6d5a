"""Pretended CUDA devices for tests on machines without a GPU.

    from tests.support import pretend_cuda
    pretend_cuda.install(devices=2, memory=2**30)

After `install`, tensors on `cuda:N` report that device and lie in the host's memory. The pretence
refuses what CUDA refuses: tensors of two devices in one call, `.numpy()`, a CPU generator for a
CUDA tensor, allocations beyond the memory of a device, any call after a CUDA error. It counts every
wait of the host (`waits`), and with `settings.record_lines` the line that caused it (`wait_lines`).

Kernels are the CPU's and finish at once. Races between streams, missing CUDA kernels, workspaces,
fragmentation and speed cannot be tested. `install` patches torch for the whole process, so tests
that need it run in a process of their own (`tests/cuda`).

Requires a CPU build of torch, and g++ once: see `missing`.
"""

from tests.support.pretend_cuda.devices import (
    cards,
    cuda_error,
    failures,
    paced_threads,
    settings,
    wait_lines,
    waits,
)
from tests.support.pretend_cuda.patches import install, missing
from tests.support.pretend_cuda.surface import break_driver
from tests.support.pretend_cuda.tensors import CudaTensor, is_pinned

__all__ = [
    "CudaTensor",
    "break_driver",
    "cards",
    "cuda_error",
    "failures",
    "install",
    "is_pinned",
    "missing",
    "paced_threads",
    "settings",
    "wait_lines",
    "waits",
]
