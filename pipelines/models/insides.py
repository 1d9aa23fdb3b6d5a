"""What is in a model's single file, told by the names of its tensors.

Knows how model sites name them, in the layouts that diffusers reads; not how large anything is.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from pipelines.lanes.joins import DENOISERS
from pipelines.models.headers import Told, tensors
from pipelines.weights.layout import INDEX, components

_DENOISER = "model.diffusion_model."
"""How the names of a denoiser's tensors begin."""
_AUTOENCODERS = ("first_stage_model.", "vae.")
"""How an autoencoder's do."""
_TEXTS = {
    "CLIPText": (
        "cond_stage_model.",
        "conditioner.embedders.0.",
        "conditioner.embedders.1.",
        "text_encoders.clip_l.",
        "text_encoders.clip_g.",
    ),
    "T5": ("text_encoders.t5xxl.",),
}
"""How text encoders' do, the first one's first, by how their classes' names begin."""


def is_whole(file: Path) -> bool:
    """Whether a single file has more than a denoiser. Raises OSError and ValueError."""
    return file.suffix == ".safetensors" and any(
        name.startswith(_AUTOENCODERS) for name, _ in tensors(file)
    )


def denoiser_of(config: Path) -> str:
    """The component of a pipeline's folder that is its denoiser. Raises OSError and ValueError."""
    found = DENOISERS & _kinds(config).keys()
    if not found:
        raise ValueError(f"{config / INDEX} names no denoiser")
    return min(found)


def inside(file: Path, config: Path) -> Mapping[str, list[Told]]:
    """A whole checkpoint's tensors by component; those that no component has are left out.

    `config`: the folder of a pipeline like that in the file. Raises OSError and ValueError.
    """
    there = list(tensors(file))
    owners = {_DENOISER: denoiser_of(config), **dict.fromkeys(_AUTOENCODERS, "vae")}
    found: dict[str, list[Told]] = {}
    for begins, owner in (owners | _text_encoders(there, _kinds(config))).items():
        if its := [it for it in there if it[0].startswith(begins)]:
            found.setdefault(owner, []).extend(its)
    return found


def _text_encoders(there: list[Told], kinds: Mapping[str, str]) -> dict[str, str]:
    """Which text encoder's tensors begin how: in a file that has one less, the first is it."""
    found: dict[str, str] = {}
    for mark, known in _TEXTS.items():
        begins = [it for it in known if any(name.startswith(it) for name, _ in there)]
        such = sorted(name for name, kind in kinds.items() if kind.startswith(mark))
        found |= dict(zip(begins, such, strict=False))
    return found


def _kinds(config: Path) -> dict[str, str]:
    """The components' classes."""
    index = json.loads((config / INDEX).read_bytes())
    return {name: kind for name, (_, kind) in components(index).items()}
