"""Which devices an address means, and how much memory each has, in bytes."""

import os
import time
from pathlib import Path

from pipelines.models.cuda_driver import unsupported

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Of a container: files with a number, or `max`."""

_CONTEXT = 2**29
"""Of a CUDA device: what a process takes of it beside its tensors."""

_IDLE = 2**30
"""A GPU of which no more is used has no other process on it."""

_LOOKS, _LOOK_EVERY_S = 10, 0.5


def settle(address: str) -> list[str]:
    """The devices behind an address: several, or the CPU, for `auto`; otherwise itself."""
    import torch

    if address != "auto":
        return [address]
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [f"cuda:{n}" for n in range(count) if unsupported(n) is None] or ["cpu"]


def memory_of(device: str) -> int:
    """All of a device's memory; of the host's what this container may have."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.get_device_properties(device).total_memory)
    limits = [int(text) for path in map(Path, _LIMITS) if (text := _read(path)).isdecimal()]
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *limits])


def available_memory(device: str, aside: int = 0) -> int:
    """Return the bytes of a device that no other process uses at this moment.

    `aside` is the part of the auxiliary process, which may or may not use it yet: it counts as
    available.
    """
    if not device.startswith("cuda"):
        return memory_of(device)
    free, total = _settled_memory(device)
    return min(free + aside, total)


def bound_allocator(device: str, aside: int) -> None:
    """Keep torch's allocator from taking what is set aside on a GPU for another process."""
    if not (device.startswith("cuda") and aside):
        return
    import torch

    total = memory_of(device)
    torch.cuda.set_per_process_memory_fraction(
        max(0.05, (total - aside - _CONTEXT) / total), device
    )


def _settled_memory(device: str) -> tuple[int, int]:
    """(free, total) bytes, once no process that has just ended gives memory back any more."""
    import torch

    free, total = torch.cuda.mem_get_info(device)
    for _ in range(_LOOKS):
        if total - free < _IDLE:
            break
        time.sleep(_LOOK_EVERY_S)
        before, (free, _) = free, torch.cuda.mem_get_info(device)
        if free <= before:
            break
    return int(free), int(total)


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
