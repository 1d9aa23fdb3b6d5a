"""A model in one file, as people share them: a whole checkpoint, or its denoiser alone, or a GGUF.

What is not in the file, configurations and tokenizers above all, is taken from a diffusers folder.
Knows how diffusers reads such files; no family by name, and no device.
"""

from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from pipelines.models.checkpoint_audit import audit, own_names, skeleton, split, text_state
from pipelines.models.checkpoint_keys import blocks_of, scaled_weights
from pipelines.models.folders import read_component, read_components
from pipelines.models.headers import tensors
from pipelines.models.insides import denoiser_of, inside, is_whole
from pipelines.models.quantizing import quantized
from pipelines.weights.layout import components, variant_of
from pipelines.weights.manifest import WeightsError, files_of
from pipelines.weights.safety import (
    read_index,
    require_gguf,
    require_safetensors,
    require_unpickled,
)


def require_safe(file: Path, config: Path) -> None:
    """Raise WeightsError unless both may be read: nothing in them is pickled."""
    if file.suffix == ".gguf":
        require_gguf(file)
    elif file.suffix == ".safetensors":
        require_safetensors(file)
    else:
        raise WeightsError(f"{file} is neither .safetensors nor .gguf")
    require_unpickled(config, (path for path in files_of(config) if not _is_text(path)))


def read_file(
    name: str,
    file: Path,
    config: Path,
    dtype: torch.dtype,
    known: Mapping[str, torch.nn.Module],
    stored: Mapping[str, str],
) -> Any:
    """A pipeline of what is in a file, and of a folder for the rest.

    `name`: its class, or `auto`: the one that the folder's index names. `known`: components that
    need not be read. `stored`: how others are, in fewer bits. Raises what diffusers raises, and
    WeightsError, also for tensors that nothing would use.
    """
    import diffusers

    audit(file, config)
    index = read_index(config)
    kind = getattr(diffusers, index["_class_name"] if name == "auto" else name)
    told = {"dtype": dtype, "local_files_only": True}
    if is_whole(file):
        parts = split((key for key, _ in tensors(file)), file, config)
        read = {
            part: _read_component(file, keys, config, part, dtype)
            for part, keys in parts.items()
            if part and part not in known
        }
        there = {**known, **read, **_read_lacking(file, config, dtype, known)}
        return kind.from_single_file(str(file), config=str(config), **told, **there)
    denoiser = denoiser_of(config)
    module = known.get(denoiser) or _read_denoiser(file, config, denoiser, dtype)
    modules = {**known, denoiser: module}
    modules |= read_components(config, dtype, modules, stored)
    return kind.from_pretrained(
        config,
        variant=variant_of(config),
        use_safetensors=True,
        trust_remote_code=False,
        **told,
        **quantized(stored, config, dtype),
        **modules,
    )


def _read_lacking(
    file: Path, config: Path, dtype: torch.dtype, known: Mapping[str, torch.nn.Module]
) -> dict[str, Any]:
    """The text encoders that a checkpoint lacks: diffusers finds none that transformers saved."""
    there = {*known, *inside(file, config)}
    lacking = [
        name
        for name in components(read_index(config))
        if name.startswith("text_encoder") and name not in there
    ]
    return {name: read_component(config, name, dtype) for name in lacking}


def _read_component(
    file: Path, keys: Iterable[str], config: Path, name: str, dtype: torch.dtype
) -> torch.nn.Module:
    library, kind = components(read_index(config))[name]
    cls = getattr(import_module(library), kind)
    state, empty = read_weights(file, keys, dtype), skeleton(cls, config, name)
    if library == "transformers":
        return _text_encoder(file, cls, empty, text_state(empty, state), dtype)
    own = own_names(empty, state)
    module: torch.nn.Module = cls.from_single_file(
        state if own is None else own,
        config=str(config),
        subfolder=name,
        dtype=dtype,
        local_files_only=True,
    )
    return module


def _text_encoder(
    file: Path, cls: Any, empty: Any, state: dict[str, torch.Tensor], dtype: torch.dtype
) -> torch.nn.Module:
    if "text_projection.weight" not in empty.state_dict():
        state.pop("text_projection.weight", None)
    module: torch.nn.Module
    module, told = cls.from_pretrained(
        None, config=empty.config, state_dict=state, dtype=dtype, output_loading_info=True
    )
    wrong = {key: list(value)[:5] for key, value in told.items() if value}
    if wrong:
        raise WeightsError(f"{file.name}: {cls.__name__}: {wrong}")
    return module


def read_weights(file: Path, names: Iterable[str], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Tensors of a safetensors file, those that have a scale multiplied by it, in `dtype`."""
    from safetensors import safe_open

    with safe_open(file, "pt") as source:
        scales = {weight: scale for scale, weight in scaled_weights(source.keys())}
        return {
            name: _scaled(source.get_tensor(name), source.get_tensor(scales[name]), dtype)
            if name in scales
            else source.get_tensor(name)
            for name in names
        }


def _scaled(weight: torch.Tensor, scale: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if scale.numel() == 1:
        return (weight.float() * scale.float().reshape(())).to(dtype)
    blocks = blocks_of(weight.shape, scale.shape)
    factors = scale.float().reshape(*scale.shape, *([1] * (weight.ndim - scale.ndim)))
    for dimension, size in enumerate(blocks or ()):
        if factors.shape[dimension] > 1 and size > 1:
            factors = factors.repeat_interleave(size, dimension)
    return (weight.float() * factors).to(dtype)


def _read_denoiser(file: Path, config: Path, name: str, dtype: torch.dtype) -> torch.nn.Module:
    if file.suffix == ".safetensors":
        keys = split((key for key, _ in tensors(file)), file, config)[name]
        return _read_component(file, keys, config, name, dtype)
    import diffusers
    from diffusers.models.model_loading_utils import load_gguf_checkpoint

    cls = getattr(diffusers, components(read_index(config))[name][1])
    state = load_gguf_checkpoint(file)
    own = own_names(skeleton(cls, config, name), state)
    module: torch.nn.Module = cls.from_single_file(
        state if own is None else own,
        config=str(config),
        subfolder=name,
        dtype=dtype,
        local_files_only=True,
        quantization_config=diffusers.GGUFQuantizationConfig(compute_dtype=dtype),
    )
    return module


def _is_text(path: str) -> bool:
    return path.endswith((".json", ".txt", ".model", ".jinja", ".md", ".yaml"))
