"""Which devices an address means, and how much memory each has, in bytes."""

import os
from pathlib import Path

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Of a container: files with a number, or `max`."""


def settle(address: str) -> list[str]:
    """The devices behind an address: several, or the CPU, for `auto`; otherwise itself."""
    import torch

    if address != "auto":
        return [address]
    return [f"cuda:{n}" for n in range(torch.cuda.device_count())] or ["cpu"]


def memory_of(device: str) -> int:
    """All of a device's memory; of the host's what this container may have."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.get_device_properties(device).total_memory)
    limits = [int(text) for path in map(Path, _LIMITS) if (text := _read(path)).isdecimal()]
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *limits])


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
