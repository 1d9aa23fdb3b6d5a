"""Copies from the host to a device that the host does not wait for.

A copy from pageable memory waits for all work that is queued on the device: a whole pass.
"""

from typing import Any

import torch
from torch.overrides import TorchFunctionMode


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a tensor of the host to a CUDA device without a wait, or to another device at once."""
    if tensor.device.type != "cpu" or device.type != "cuda":
        return tensor.to(device)
    return tensor.contiguous().pin_memory().to(device, non_blocking=True)


class AsyncCopies(TorchFunctionMode):
    """While active, `tensor.to(device)` and `torch.tensor(..., device=...)` do not wait, either."""

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.tensor and _is_cuda(kwargs.get("device")):
            made = func(*args, **kwargs | {"device": "cpu"})
            return to_device(made, torch.device(kwargs["device"]))
        if func is torch.Tensor.to and len(args) == 2 and not kwargs and _is_cuda(args[1]):
            return to_device(args[0], torch.device(args[1]))
        return func(*args, **kwargs)


def _is_cuda(device: Any) -> bool:
    return isinstance(device, torch.device | str) and torch.device(device).type == "cuda"
