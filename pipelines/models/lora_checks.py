"""Whether a LoRA's file may be worn by a model: plain low-rank weights, for layers that it has.

Every tensor of the file must reach a layer of the model, or the LoRA is refused by name; some
trainers add tensors of zeros, which have no effect. Holds nothing of a model, which may be given up
meanwhile.
"""

import inspect
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from pipelines.core import ModelUnavailable, UnfitLora
from pipelines.models.traced_tensors import TracedTensor, origins_of, trace
from pipelines.scheduling.trouble import is_out_of_memory
from pipelines.weights.lora_manifests import require_trusted_lora
from pipelines.weights.manifest import WeightsError

log = logging.getLogger(__name__)

_SHOWN = 3
_KINDS = {
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "hada_": "LoHa",
    "lokr_": "LoKr",
    "oft_": "OFT",
    "boft_": "BOFT",
    "ia3_": "IA3",
    "lora_mid": "LoCon in Tucker form",
    "bundle_emb": "embeddings",
}
"""Parts of tensors' names in kinds of adapters that are not plain LoRAs."""
_DIFFERENCES = (".diff", ".diff_b")
"""Ends of their names where whole weights are stored, not low-rank ones."""
_SIDES = ("lora_A.weight", "lora_B.weight")
_GROUP = re.compile(
    r"(\.lora_?(down|up|A|B)|\.lora\.(down|up)|_lora\.(down|up))?(\.default)?\.weight$|\.alpha$"
)
"""What follows the name of a layer in a LoRA's file."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """What a pipeline looks like, without any of its modules."""

    kind: type
    components: frozenset[str]
    features: Mapping[str, tuple[int, int]]
    """In and out, of each linear layer."""
    layers: frozenset[str] = frozenset()
    """Every module."""
    unet_config: Any = None


@dataclass(frozen=True, slots=True)
class LoraLayers:
    """What a file puts on a model."""

    parameters: frozenset[str] = frozenset()
    """Names of all parameters, as `component.layer.lora_A.weight`."""
    alphas: Mapping[str, float] = field(default_factory=dict)
    """The alpha of each layer where the file has any; others have their rank."""


def likeness(pipe: Any) -> Likeness:
    """Of a pipeline; looks through all of its layers."""
    modules = {n: it for n, it in pipe.components.items() if isinstance(it, torch.nn.Module)}
    layers = {
        f"{name}.{path}": getattr(layer, "base_layer", layer)
        for name, module in modules.items()
        for path, layer in module.named_modules()
    }
    features = {
        path: (layer.in_features, layer.out_features)
        for path, layer in layers.items()
        if hasattr(layer, "in_features") and hasattr(layer, "out_features")
    }
    unet = modules.get("unet")
    config = None if unet is None else unet.config
    return Likeness(type(pipe), frozenset(modules), features, frozenset(layers), config)


def check(model: Likeness, name: str, file: Path) -> LoraLayers:
    """Read a file, which brings it into the host's memory, and see what it puts on a model.

    Raises UnfitLora, and ModelUnavailable where it may be tried again.
    """
    try:
        require_trusted_lora(file)
    except WeightsError as error:
        raise ModelUnavailable(str(error)) from error
    with unfit(model.kind, name):
        return _layers_of(model, file)


@contextmanager
def unfit(kind: type, name: str) -> Iterator[None]:
    """Whatever a file makes go wrong here, it does not fit."""
    try:
        yield
    except Exception as error:
        if isinstance(error, ModelUnavailable) or is_out_of_memory(error):
            raise
        log.warning("LoRA %s does not fit %s: %s", name, kind.__name__, error)
        known = isinstance(error, Refusal)
        raise UnfitLora(
            name, str(error) if known else "its file cannot be read as a LoRA"
        ) from error


class Refusal(ValueError):
    """A LoRA cannot be worn; the message is for the client."""


def refuse(reason: str, names: Sequence[str]) -> ValueError:
    """An error that names the first of several layers or tensors."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return Refusal(f"{reason}: {', '.join(names[:_SHOWN])}{more}")


def _layers_of(model: Likeness, file: Path) -> LoraLayers:
    from safetensors.torch import load_file

    there = load_file(file)
    for part, kind in _KINDS.items():
        if found := sorted(key for key in there if part in key):
            raise refuse(f"it is not a plain LoRA but has {kind}, which is not supported", found)
    effective = {key for key, tensor in there.items() if tensor.float().any()}
    if found := sorted(key for key in effective if key.endswith(_DIFFERENCES)):
        raise refuse("it has full differences of weights, which is not supported", found)
    tensors, values_read = trace(there)
    state, alphas = _converted(model, tensors, file)
    named = _in_layers(model, state)
    used = origins_of([state, alphas]) | values_read
    if unused := sorted(effective - used):
        raise refuse("these tensors of it belong to no layer", unused)
    _require_sides(named)
    for key, tensor in named.items():
        layer, _, side = key.partition(".lora_")
        if f"lora_{side}" in _SIDES and layer in model.features:
            _require_shape(layer, model.features[layer], side, tensor)
    return LoraLayers(frozenset(named), _alphas(named, there) if alphas else {})


def _converted(
    model: Likeness, tensors: Mapping[str, TracedTensor], file: Path
) -> tuple[dict[str, TracedTensor], Any]:
    """A file's tensors by diffusers' names, and its alphas where they are not multiplied in."""
    kind: Any = model.kind
    more = {} if model.unet_config is None else {"unet_config": model.unet_config}
    if "return_alphas" in inspect.signature(kind.lora_state_dict).parameters:
        more["return_alphas"] = True  # as diffusers does where it loads them
    try:
        told = kind.lora_state_dict(dict(tensors), **more)
    except Exception as error:
        log.warning("LoRA %s: %s", file, error)
        named = sorted(key for key in tensors if key in str(error)) or sorted(tensors)
        raise refuse(f"{kind.__name__} does not know these names", named) from error
    return (told[0], told[1]) if isinstance(told, tuple) else (told, None)


def _in_layers(model: Likeness, state: Mapping[str, TracedTensor]) -> dict[str, TracedTensor]:
    """A LoRA's tensors by the names that peft will give them. Raises ValueError."""
    kind: Any = model.kind
    parts: dict[str, dict[str, TracedTensor]] = {}
    for key, tensor in state.items():
        component, _, rest = key.partition(".")
        parts.setdefault(component, {})[rest] = tensor
    found: dict[str, TracedTensor] = {}
    for component, its in parts.items():
        keys = [f"{component}.{key}" for key in its]
        if component not in model.components:
            raise refuse(f"this model has no {component}", keys)
        if component not in kind._lora_loadable_modules:
            raise refuse(f"{component} of {kind.__name__} takes no LoRA", keys)
        if plain := [key for key in keys if "lora" not in key]:
            raise refuse("these are no low-rank weights", plain)
        found |= _by_peft(model, component, its)
    layers = dict.fromkeys(key.partition(".lora_")[0] for key in found)
    if missing := [layer for layer in layers if layer not in model.layers]:
        raise refuse("this model lacks layers of it", missing)
    return found


def _by_peft(
    model: Likeness, component: str, state: dict[str, TracedTensor]
) -> dict[str, TracedTensor]:
    from diffusers.utils import (
        convert_state_dict_to_diffusers,
        convert_state_dict_to_peft,
        convert_unet_state_dict_to_peft,
    )

    if component.startswith("text_encoder"):
        state = convert_state_dict_to_peft(convert_state_dict_to_diffusers(state))
        if f"{component}.text_model" not in model.layers:
            state = {key.removeprefix("text_model."): it for key, it in state.items()}
    elif "lora_A" not in next(iter(state)):
        state = convert_unet_state_dict_to_peft(state)
    return {f"{component}.{key}": it for key, it in state.items()}


def _require_sides(named: Mapping[str, TracedTensor]) -> None:
    """Both matrices of each layer, and nothing else but a bias."""
    for key in named:
        layer, _, side = key.partition(".lora_")
        if side not in ("A.weight", "B.weight", "B.bias"):
            raise refuse("it has what is no plain LoRA", [key])
        if lost := [it for it in _SIDES if f"{layer}.{it}" not in named]:
            raise refuse("half of a layer is missing", [f"{layer}.{it}" for it in lost])


def _alphas(
    named: Mapping[str, TracedTensor], there: Mapping[str, torch.Tensor]
) -> dict[str, float]:
    """The alpha of each layer, found beside the tensors that its weights were made of."""
    alphas = {_GROUP.sub("", key): key for key in there if key.endswith(".alpha")}
    found = {}
    for key, tensor in named.items():
        layer, _, side = key.partition(".lora_")
        if side == "A.weight":
            groups = {_GROUP.sub("", origin) for origin in tensor.origins}
            mine = [alphas[group] for group in groups if group in alphas]
            found[layer] = float(there[mine[0]]) if mine else float(len(tensor))
    return found


def _require_shape(layer: str, features: tuple[int, int], side: str, tensor: torch.Tensor) -> None:
    given, needed = (tensor.shape[1], features[0]) if side[0] == "A" else (len(tensor), features[1])
    if given != needed:
        shape = "x".join(map(str, tensor.shape))
        raise refuse(f"a layer has {needed} features, and not those of {shape} weights", [layer])
