"""A model in one file, as people share them: a whole checkpoint, or its denoiser alone, or a GGUF.

What is not in the file, configurations and tokenizers above all, is taken from a diffusers folder.
Knows how diffusers reads such files; no family by name, and no device.
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

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
    WeightsError.
    """
    import diffusers

    index = read_index(config)
    kind = getattr(diffusers, index["_class_name"] if name == "auto" else name)
    told = {"dtype": dtype, "local_files_only": True}
    if is_whole(file):
        there = {**known, **_read_lacking(file, config, dtype, known)}
        pipe = kind.from_single_file(str(file), config=str(config), **told, **there)
        return _finished(pipe, known)
    denoiser = denoiser_of(config)
    module = known.get(denoiser) or _read_denoiser(file, config, denoiser, dtype)
    return kind.from_pretrained(
        config,
        variant=variant_of(config),
        use_safetensors=True,
        trust_remote_code=False,
        **told,
        **quantized(stored, config, dtype),
        **{**known, denoiser: module},
    )


def _read_lacking(
    file: Path, config: Path, dtype: torch.dtype, known: Mapping[str, torch.nn.Module]
) -> dict[str, Any]:
    """The text encoders that a checkpoint lacks: diffusers finds none that transformers saved."""
    there = {*known, *inside(file, config)}
    return {
        name: getattr(import_module(library), kind).from_pretrained(
            config,
            subfolder=name,
            variant=variant_of(config),
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
        )
        for name, (library, kind) in components(read_index(config)).items()
        if name.startswith("text_encoder") and name not in there
    }


def _finished(pipe: Any, known: Mapping[str, Any]) -> Any:
    """diffusers reads a T5 as one that is about to be trained, which forgets at random; and leaves
    one of its embeddings' two names empty, where a file has them under the other."""
    from transformers import PreTrainedModel

    for name, module in pipe.components.items():
        if isinstance(module, torch.nn.Module) and name not in known:
            module.eval()
            if isinstance(module, PreTrainedModel):
                module.tie_weights()
    return pipe


def _read_denoiser(file: Path, config: Path, name: str, dtype: torch.dtype) -> torch.nn.Module:
    import diffusers

    kind = getattr(diffusers, components(read_index(config))[name][1])
    stored = {}
    if file.suffix == ".gguf":
        stored["quantization_config"] = diffusers.GGUFQuantizationConfig(compute_dtype=dtype)
    module: torch.nn.Module = kind.from_single_file(
        str(file), config=str(config), subfolder=name, dtype=dtype, local_files_only=True, **stored
    )
    return module


def _is_text(path: str) -> bool:
    return path.endswith((".json", ".txt", ".model", ".jinja", ".md", ".yaml"))
