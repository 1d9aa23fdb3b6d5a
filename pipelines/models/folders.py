"""A model in a folder of diffusers, read component by component, so that what each lacks is told.

diffusers and transformers make up weights that a file lacks, at random, and drop those that they
do not know, with a line in a log.
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from pipelines.models.checkpoint_keys import has_no_effect
from pipelines.weights.layout import component_variant, components, variant_of
from pipelines.weights.manifest import WeightsError
from pipelines.weights.safety import read_index

_SHOWN = 5


def read_components(
    folder: Path, dtype: torch.dtype, known: Mapping[str, Any], stored: Mapping[str, str]
) -> dict[str, torch.nn.Module]:
    """The modules of a pipeline's folder that are neither known nor to be stored in fewer bits.

    Raises WeightsError for a component whose files lack weights, or have some without a place.
    """
    wanted = [
        name
        for name, (library, kind) in components(read_index(folder)).items()
        if name not in known
        and stored.get(name, "none") == "none"
        and _is_model(library, kind)
        and (folder / name).is_dir()
    ]
    return {name: read_component(folder, name, dtype) for name in wanted}


def _is_model(library: str, kind: str) -> bool:
    if library not in ("diffusers", "transformers"):
        return False
    cls = getattr(import_module(library), kind, None)
    return isinstance(cls, type) and issubclass(cls, torch.nn.Module)


def read_component(folder: Path, name: str, dtype: torch.dtype) -> torch.nn.Module:
    """One module of a pipeline's folder. Raises what `read_components` does."""
    library, kind = components(read_index(folder))[name]
    cls: Any = getattr(import_module(library), kind)
    module: torch.nn.Module
    module, told = cls.from_pretrained(
        folder,
        subfolder=name,
        dtype=dtype,
        variant=component_variant(folder / name, variant_of(folder)),
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
    )
    if getattr(module, "hf_quantizer", None) is None:
        _require_whole(f"{folder.name}/{name}", module, told)
    return module


def _require_whole(where: str, module: torch.nn.Module, told: Mapping[str, Any]) -> None:
    if missing := sorted(told.get("missing_keys") or ()):
        raise WeightsError(f"{where} lacks weights of {type(module).__name__}: {_some(missing)}")
    parts = {key.partition(".")[0] for key in module.state_dict()}
    unexpected = [
        key
        for key in sorted(told.get("unexpected_keys") or ())
        if key.partition(".")[0] in parts and not has_no_effect(key)
    ]
    if unexpected:
        raise WeightsError(
            f"{type(module).__name__} has no place for {_some(unexpected)} of {where}"
        )


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" (and {more} more)" if more > 0 else "")
