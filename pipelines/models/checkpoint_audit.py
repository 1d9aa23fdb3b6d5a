"""Checks, without reading a weight, that a model has a place for every tensor of a single file.

diffusers converts a checkpoint's names and drops whatever it does not know. Here the conversion
runs on tensors without data that remember their origin, so that a dropped one is found.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from pipelines.models.checkpoint_keys import (
    PROJECTION,
    UNUSED_NORM,
    is_weight,
    require_readable,
)
from pipelines.models.headers import tensors
from pipelines.models.insides import denoiser_of, inside, is_whole
from pipelines.models.traced_tensors import origins_of, trace
from pipelines.weights.layout import components
from pipelines.weights.manifest import WeightsError
from pipelines.weights.safety import read_index

Tensors = Mapping[str, torch.Tensor]

DENOISER_PREFIX = "model.diffusion_model."
_SHOWN = 5
_OWN = 0.9
"""A file has the names of diffusers if more than this share of its names are."""
_CONFIGURED = {
    "edm_mean": ("vae", "latents_mean"),
    "edm_std": ("vae", "latents_std"),
    "edm_vpred.sigma_max": ("scheduler", "sigma_max"),
    "edm_vpred.sigma_min": ("scheduler", "sigma_min"),
    "__index_timestep_zero__": ("transformer", "zero_cond_t"),
}
"""Markers that a component's configuration must have an equivalent of: component and key."""


def split(names: Iterable[str], file: Path, config: Path) -> dict[str, list[str]]:
    """The tensors of a single file by component; `""` has those that belong to none."""
    weights = [name for name in names if is_weight(name) and not _is_configured(config, name)]
    if not is_whole(file):
        return {denoiser_of(config): weights}
    owners = {name: part for part, its in inside(file, config).items() for name, _ in its}
    found: dict[str, list[str]] = {}
    for name in weights:
        found.setdefault(owners.get(name, ""), []).append(name)
    return found


def audit(file: Path, config: Path) -> None:
    """Raise WeightsError unless every tensor of a file is used, or known to have no effect.

    `config`: the folder of a pipeline like the one in the file.
    """
    if file.suffix == ".safetensors":
        require_readable(file)
    there = _contents(file)
    parts = split(there, file, config)
    kinds = components(read_index(config))
    for key in (it for keys in parts.values() for it in keys if it in _CONFIGURED):
        component, setting = _CONFIGURED[key]
        raise WeightsError(
            f"{file.name}: the marker {key} needs a `config` whose {component} has {setting}"
        )
    if lost := parts.pop("", []):
        raise WeightsError(
            f"{file.name}: no component of {config.name} has a place for {_some(lost)}"
        )
    for name, keys in parts.items():
        library, kind = kinds[name]
        cls = getattr(import_module(library), kind)
        _audit_component(file, cls, skeleton(cls, config, name), {k: there[k] for k in keys})


def _contents(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file, traced and without their data."""
    if file.suffix == ".gguf":
        from gguf import GGUFReader

        found = GGUFReader(file).tensors
        return _without_data({it.name: (it.shape[::-1].tolist(), "F32") for it in found})
    return _without_data({name: (it["shape"], it["dtype"]) for name, it in tensors(file)})


def _without_data(shapes: Mapping[str, tuple[list[int], str]]) -> dict[str, torch.Tensor]:
    kinds = {True: torch.float32, False: torch.uint8}
    empty = {
        name: torch.empty(shape, device="meta", dtype=kinds[dtype[0] in "FB"])
        for name, (shape, dtype) in shapes.items()
    }
    return dict(trace(empty)[0])


def _is_configured(config: Path, marker: str) -> bool:
    component, key = _CONFIGURED.get(marker, ("", ""))
    names = ("config.json", "scheduler_config.json", "preprocessor_config.json")
    files = (config / component / name for name in names if component)
    return any(json.loads(it.read_bytes()).get(key) for it in files if it.is_file())


def skeleton(cls: Any, config: Path, name: str) -> Any:
    """A component of a pipeline's folder without weights."""
    with torch.device("meta"):
        if hasattr(cls, "config_class") and cls.config_class is not None:
            return cls(cls.config_class.from_pretrained(config, subfolder=name))
        return cls.from_config(cls.load_config(config, subfolder=name))


def _audit_component(file: Path, cls: Any, model: Any, there: Tensors) -> None:
    state = {_plain(key): it for key, it in model.state_dict().items()}
    converted = {_plain(key): it for key, it in convert(cls, model, there, file).items()}
    used = origins_of([it for key, it in converted.items() if key in state])
    unused = [key for key in there if key not in used and not UNUSED_NORM.fullmatch(key)]
    if "text_projection.weight" not in state:
        unused = [key for key in unused if not PROJECTION.fullmatch(key)]
    if unused:
        raise WeightsError(f"{file.name}: {cls.__name__} has no place for {_some(unused)}")
    missing = [key for key in state if key not in converted and key not in _tied(model)]
    if missing:
        raise WeightsError(f"{file.name}: {cls.__name__} needs {_some(missing)}, not in the file")
    for key, tensor in state.items():
        if key in converted:
            _require_like(file, key, converted[key], tensor)


def _require_like(file: Path, key: str, given: torch.Tensor, wanted: torch.Tensor) -> None:
    if given.shape != wanted.shape:
        shapes = tuple(given.shape), tuple(wanted.shape)
        raise WeightsError(f"{file.name}: {key} has shape {shapes[0]}, and should have {shapes[1]}")
    if wanted.is_floating_point() and not given.is_floating_point():
        raise WeightsError(f"{file.name}: {key} is stored as whole numbers without a known format")


def _tied(model: Any) -> frozenset[str]:
    """Parameters that may be left out: copies of others, and an identity (see `text_state`)."""
    tied = getattr(model, "_tied_weights_keys", None) or ()
    return frozenset({*map(_plain, tied), "shared.weight", "text_projection.weight"})


def _plain(key: str) -> str:
    """A text model's class may have it as an attribute, or be one."""
    return key.removeprefix("text_model.")


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    shown = ", ".join(names[:_SHOWN])
    return f"{shown} (and {more} more)" if more > 0 else shown


def convert(cls: Any, model: Any, there: Tensors, file: Path) -> dict[str, torch.Tensor]:
    """A component's tensors by the names that its class has for them. Raises WeightsError."""
    try:
        if hasattr(cls, "config_class") and cls.config_class is not None:
            return text_state(model, there)
        return _model_state(cls, model, there)
    except (KeyError, IndexError, AttributeError, RuntimeError, ValueError, TypeError) as error:
        raise WeightsError(
            f"{file.name}: its tensors ({', '.join([*there][:_SHOWN])}, …) are not those of a "
            f"{cls.__name__}: {error!r}"
        ) from error


def own_names(model: Any, there: Tensors) -> dict[str, torch.Tensor] | None:
    """The tensors by their names in diffusers, if the file has those; else None.

    Other names may be the same for most layers: two thirds of those of Z-Image.
    """
    state = model.state_dict().keys()
    found = {key.removeprefix(DENOISER_PREFIX): it for key, it in there.items()}
    return found if len(state & found.keys()) > _OWN * len(found) else None


def _model_state(cls: Any, model: Any, there: Tensors) -> dict[str, torch.Tensor]:
    from diffusers.loaders import single_file_model as diffusers_files

    own = own_names(model, there)
    if own is not None:
        return own
    mapped = diffusers_files._get_single_file_loadable_mapping_class(cls)
    if mapped is None:
        raise ValueError(f"diffusers reads no single file of {cls.__name__} with such names")
    mapping = diffusers_files.SINGLE_FILE_LOADABLE_CLASSES[mapped]["checkpoint_mapping_fn"]
    converted = mapping(config=dict(model.config), checkpoint=dict(there))
    return dict(converted)


def text_state(model: Any, there: Tensors) -> dict[str, torch.Tensor]:
    """A text encoder's tensors by the names of transformers.

    A CLIP with a projection that the file lacks gets the identity, as files of SD 3 mean it.
    """
    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint

    prefix = _text_prefix(there)
    if any(key.startswith(f"{prefix}transformer.resblocks.") for key in there):
        return dict(convert_open_clip_checkpoint(model, dict(there), prefix=prefix))
    own = {key.removeprefix(prefix): it for key, it in there.items() if key.startswith(prefix)}
    projection = model.state_dict().get("text_projection.weight")
    if "text_projection.weight" not in own and projection is not None:
        own["text_projection.weight"] = torch.eye(len(projection))
    return own


def _text_prefix(there: Tensors) -> str:
    """What comes before the names of transformers, or of OpenCLIP."""
    for key in there:
        for end in (".model.", ".transformer."):
            if end in key:
                return key.partition(end)[0] + end
    raise ValueError("unknown names of a text encoder")


def main(file: str, config: str) -> None:
    """Audit a file, and say what is wrong as the last line."""
    try:
        audit(Path(file), Path(config))
    except (WeightsError, ValueError, KeyError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
