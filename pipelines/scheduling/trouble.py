"""What an exception from a device means: too little memory, or a device that is of no more use."""

from collections.abc import Iterator

import torch

_NO_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "alloc_failed",
    "cublas_status_not_initialized",  # in practice: no memory for its handle
)
_CUDA = ("CUDA error", "cuDNN error", "CUBLAS_STATUS_", "CUDNN_STATUS_", "cuSOLVER error")
_STICKY = (
    "illegal memory access",
    "illegal instruction",
    "misaligned address",
    "invalid address space",
    "invalid program counter",
    "device-side assert",
    "launch failure",
    "launch timed out",
    "uncorrectable",
    "hardware stack error",
)
"""After these, CUDA's context is of no more use to its process."""


class DeviceLost(Exception):
    """The device answers nothing more in this process; only a new one can go on."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether less work at once might have fitted."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # The CPU's allocator, and some CUDA libraries, say so only in words.
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in said for words in _NO_MEMORY)


def is_device_error(error: BaseException) -> bool:
    """Return whether CUDA or one of its libraries reports an error other than a lack of memory."""
    if is_out_of_memory(error):
        return False
    return isinstance(error, torch.AcceleratorError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _CUDA)
    )


def is_device_lost(error: BaseException) -> bool:
    """Return whether every later call of the process fails too.

    What the error says decides where CUDA documents that; otherwise the device is asked.
    """
    if not is_device_error(error):
        return False
    said = str(error).lower()
    return any(words in said for words in _STICKY) or not _device_answers()


def _device_answers() -> bool:
    """Run a kernel, and wait for it. False where there is no device that could answer."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return False
    try:
        torch.cuda.synchronize()
        return float(torch.ones(1, device="cuda").add_(1).item()) == 2.0
    except Exception:
        return False


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
