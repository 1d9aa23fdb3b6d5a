"""Whether a LoRA's file may be worn by a model: plain low-rank weights, for layers that it has.

Knows files and what layers look like; holds nothing of a model, which may be given up meanwhile.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipelines.core import ModelUnavailable, UnfitLora
from pipelines.scheduling.trouble import is_out_of_memory
from pipelines.weights.lora_manifests import require_trusted_lora
from pipelines.weights.manifest import WeightsError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Likeness:
    """What a pipeline looks like, without any of its modules."""

    kind: type
    components: frozenset[str]
    features: Mapping[str, tuple[int, int]]
    """In and out, of each linear layer; in a text encoder, files may have other names for it."""


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
    return Likeness(type(pipe), frozenset(modules), features)


def check(model: Likeness, file: Path) -> None:
    """Read a file, which brings it into the host's memory, and see whether it may be worn.

    Raises UnfitLora, and ModelUnavailable where it may be tried again.
    """
    try:
        require_trusted_lora(file)
    except WeightsError as error:
        raise ModelUnavailable(str(error)) from error
    with unfit(model.kind, file):
        _require_plain(model, file)


@contextmanager
def unfit(kind: type, file: Path) -> Iterator[None]:
    """Whatever a file makes go wrong here, it does not fit."""
    try:
        yield
    except Exception as error:
        if isinstance(error, ModelUnavailable) or is_out_of_memory(error):
            raise
        log.warning("LoRA %s does not fit %s: %s", file, kind.__name__, error)
        raise UnfitLora(file.stem) from error


def _require_plain(model: Likeness, file: Path) -> None:
    """Low-rank weights, for layers as they are.

    Some pipelines take others too, and write them, or zeros for them, into the shared weights.
    """
    kind: Any = model.kind
    told = kind.lora_state_dict(file, use_safetensors=True, local_files_only=True)
    state = told[0] if isinstance(told, tuple) else told  # with the alphas, in some families
    for key, tensor in state.items():
        if "lora" not in key:
            raise ValueError(f"{key} is no low-rank weight")
        if (component := key.partition(".")[0]) not in model.components:
            raise ValueError(f"there is no {component} for {key}")
        layer, _, side = key.partition(".lora_")
        if side in ("A.weight", "B.weight") and layer in model.features:
            _require_shape(layer, model.features[layer], side, tensor)


def _require_shape(layer: str, features: tuple[int, int], side: str, tensor: torch.Tensor) -> None:
    given, needed = (tensor.shape[1], features[0]) if side[0] == "A" else (len(tensor), features[1])
    if given != needed:
        raise ValueError(f"{layer} has {needed} features, and its weights {tuple(tensor.shape)}")
