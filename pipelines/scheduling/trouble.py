"""What an exception from a device means: too little memory, or a device that is of no more use."""

from collections.abc import Iterator

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


def require_device(error: BaseException) -> None:
    """Raise DeviceLost where an error, or one that it came from, says that the device is lost."""
    for each in _led_to(error):
        if is_device_lost(each):
            raise DeviceLost(str(each)) from error


def forget_frames(error: BaseException) -> None:
    """Let go of the frames that an error, and those that it came from, went through.

    They hold what was allocated in them, and are held by what is in them in turn.
    """
    for each in _led_to(error):
        each.__traceback__ = None


def _led_to(error: BaseException) -> Iterator[BaseException]:
    """An error, and those from which it came, each once: they may lead to each other."""
    ahead: list[BaseException | None] = [error]
    seen: set[int] = set()
    while ahead:
        each = ahead.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            ahead += [each.__context__, each.__cause__]
