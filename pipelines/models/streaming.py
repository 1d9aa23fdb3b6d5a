"""Weights that come to a device layer by layer, by diffusers' group offloading."""

from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from diffusers.hooks import apply_group_offloading

from pipelines.models.plans import LAYERS_AT_ONCE

_HOOK = "group_offloading"


def stream(module: torch.nn.Module, device: str, pinned: bool) -> None:
    """Keep a module's weights in the host's memory, and bring each layer when it is called.

    `pinned`: they are in pinned memory already. Otherwise each layer is pinned on its way.
    """
    cuda = device.startswith("cuda")
    apply_group_offloading(
        module,
        onload_device=torch.device(device),
        offload_device=torch.device("cpu"),
        offload_type="leaf_level",
        use_stream=cuda,
        record_stream=cuda,
        low_cpu_mem_usage=cuda and not pinned,
    )
    if cuda:
        _bound(_copies_of(module), device)


def _copies_of(module: torch.nn.Module) -> Any:
    """The stream on which the layers come: one for all of them, also after LoRAs are loaded."""
    registries = (getattr(it, "_diffusers_hook", None) for it in module.modules())
    hooks = (it.get_hook(_HOOK) for it in registries if it is not None)
    return next(hook.config.stream for hook in hooks if hook is not None)


def _bound(copies: Any, device: str) -> None:
    """Keep the host from running ahead of the device by more than a layer.

    With `record_stream`, diffusers waits for copies alone, once a layer. The memory of a layer is
    free only when its computation ends, so all layers would be in memory where copies are faster.
    """
    begun: deque[Any] = deque()
    wait: Callable[[], None] = copies.synchronize

    def synchronize() -> None:
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(device))
        begun.append(event)
        if len(begun) > LAYERS_AT_ONCE - 2:
            oldest = begun.popleft()
            if not oldest.query():
                oldest.synchronize()
        wait()

    copies.synchronize = synchronize
