"""Adapters: low-rank weights beside those of a module that lanes share, worn for one pass.

Knows how peft keeps them in a module; not which files they come from, nor who wants them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

Worn = tuple[tuple[str, float], ...]
"""Adapters and their scales, in the order of their names; `()` is the plain module."""

_WORN = "_darkroom_worn"
"""The attribute of a module that says what it wears; None: nobody knows."""
_LAYERS = "_darkroom_layers"


def of(module: torch.nn.Module, wanted: Worn) -> Worn:
    """Those of the adapters that have weights for a module."""
    if not wanted:
        return ()
    there = getattr(module, "peft_config", {})
    return tuple(it for it in wanted if it[0] in there)


def wear(module: torch.nn.Module, wanted: Worn) -> None:
    """From now on the module computes with exactly these adapters, all of which it has.

    Without any it is, to the bit, what it is where there are none.
    """
    if vars(module).get(_WORN, ()) == wanted:
        return
    setattr(module, _WORN, None)  # until it does
    names = [name for name, _ in wanted]
    for layer in _layers(module):
        # Not `set_adapter`, which also goes through all weights to say what of them can be trained.
        layer._disable_adapters = not wanted
        layer._active_adapter = names
        for name, scale in wanted:
            layer.set_scale(name, scale)
    setattr(module, _WORN, wanted)


def changed(module: torch.nn.Module) -> None:
    """Adapters were put into a module, or taken out: what it wears is not known."""
    setattr(module, _WORN, None)
    vars(module).pop(_LAYERS, None)


def remove(modules: Sequence[torch.nn.Module], name: str) -> None:
    """Take an adapter out of modules; with the last one go the layers that peft wraps around."""
    from diffusers.utils.peft_utils import delete_adapter_layers, recurse_remove_peft_layers

    for module in modules:
        if name in getattr(module, "peft_config", {}):
            delete_adapter_layers(module, name)
            if not getattr(module, "peft_config", None):
                recurse_remove_peft_layers(module)
            changed(module)


def move(module: torch.nn.Module, device: torch.device) -> None:
    """Move all adapters of a module to a device. The weights of the module stay where they are."""
    names = set(getattr(module, "peft_config", ()))
    for path, weights in module.named_parameters():
        if not names.isdisjoint(path.split(".")):
            weights.data = weights.data.to(device)


def weigh(module: torch.nn.Module, name: str) -> int:
    """Bytes of what an adapter has in a module."""
    return sum(it.nbytes for path, it in module.named_parameters() if name in path.split("."))


def parameters(components: Mapping[str, Any], name: str) -> frozenset[str]:
    """What an adapter has in a pipeline's components: `component.layer.lora_A.weight`."""
    return frozenset(
        f"{component}.{path.replace(f'.{name}', '')}"
        for component, module in components.items()
        if isinstance(module, torch.nn.Module)
        for path, _ in module.named_parameters()
        if name in path.split(".")
    )


def set_alphas(components: Mapping[str, Any], name: str, alphas: Mapping[str, float]) -> None:
    """Give each layer of an adapter its own alpha: diffusers gives the most frequent one to layers
    whose file has none."""
    for component, module in components.items():
        layers = module.named_modules() if isinstance(module, torch.nn.Module) else ()
        for path, layer in layers if alphas else ():
            if name in getattr(layer, "lora_alpha", {}) and f"{component}.{path}" in alphas:
                layer.lora_alpha[name] = alphas[f"{component}.{path}"]


def _layers(module: torch.nn.Module) -> list[Any]:
    """Those that peft has wrapped; looked for once, a denoiser has thousands of modules."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    known = vars(module)
    if _LAYERS not in known:
        known[_LAYERS] = [it for it in module.modules() if isinstance(it, BaseTunerLayer)]
    layers: list[Any] = known[_LAYERS]
    return layers
