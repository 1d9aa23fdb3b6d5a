"""What an exception from a device means: too little memory, or a device that is of no more use."""

import torch


class DeviceLost(Exception):
    """The device answers nothing more in this process; only a new one can go on."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether less work at once might have fitted."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # The CPU's allocator, and some CUDA libraries, say so only in words.
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        words in said for words in ("out of memory", "can't allocate memory", "alloc_failed")
    )


def is_device_lost(error: BaseException) -> bool:
    """After such an error every later call of the process fails too."""
    if is_out_of_memory(error):
        return False
    return isinstance(error, torch.AcceleratorError) or (
        isinstance(error, RuntimeError) and "CUDA error" in str(error)
    )
