"""Which tasks a family of models can do: data, by the diffusers pipeline class of its weights.

The server reads it, so that an entry that promises more is refused at start, not at each request.
Pipelines that are not listed are taken at their entry's word. A test compares the table with
diffusers.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from pipelines.core import Task

_Tasks = frozenset[Task]
_TEXT: _Tasks = frozenset({"text2img"})
_IMAGE: _Tasks = _TEXT | {"img2img"}
_PLAIN: _Tasks = _IMAGE | {"inpaint"}
_INSTRUCTED: _Tasks = frozenset({"text2img", "edit"})
_REPAINTED: _Tasks = frozenset({"inpaint"})

_EACH = ("", "Img2Img", "Inpaint")
"""How the name of a pipeline's class ends, before `Pipeline`, by its task."""
_SEVERAL: Mapping[str, _Tasks] = {
    **dict.fromkeys(
        ("Flux", "QwenImage", "StableDiffusion", "StableDiffusion3",
         "StableDiffusionXL", "ZImage"),
        _PLAIN,
    ),
    **dict.fromkeys(("Kandinsky3", "Kolors", "LatentConsistencyModel"), _IMAGE),
}  # fmt: skip
"""Families with a pipeline for each task, which share all modules."""
_ALONE: Mapping[str, _Tasks] = {
    **dict.fromkeys(
        ("AuraFlow", "CogView3Plus", "CogView4", "HunyuanDiT", "Ideogram4", "Krea2", "Lumina",
         "Lumina2", "NucleusMoEImage", "OvisImage", "PixArtAlpha", "PixArtSigma", "PRX", "Sana"),
        _TEXT,
    ),
    **dict.fromkeys(("Flux2", "GlmImage", "QwenImage21", "ZImageOmni"), _INSTRUCTED),
    **dict.fromkeys(("Flux2Klein", "FluxKontext"), _INSTRUCTED | _REPAINTED),
    "Chroma": _PLAIN,
    "ChromaImg2Img": frozenset({"img2img"}),
    "ChromaInpaint": _REPAINTED,
    "FluxFill": _REPAINTED,
    "FluxPriorRedux": frozenset({"variation"}),
    "QwenImageEdit": frozenset({"edit", "inpaint"}),
    "QwenImageEditPlus": frozenset({"edit"}),
}  # fmt: skip
TASKS: Mapping[str, _Tasks] = {
    f"{family}{task}Pipeline": tasks
    for families, variants in ((_SEVERAL, _EACH), (_ALONE, ("",)))
    for family, tasks in families.items()
    for task in variants
}
"""By the class of the pipeline."""
PRIORS: Mapping[str, str] = {"FluxPriorReduxPipeline": "Flux"}
"""Pipelines that read an image for a model of another family."""

_INPAINTING_CHANNELS = 9
"""What a UNet takes that was trained to inpaint: latents, mask, and masked latents."""


def pipeline_class(folder: Path, pipeline: str = "auto") -> str | None:
    """The pipeline class of a folder: the one named, or that of its index if it can be read."""
    if pipeline != "auto":
        return pipeline
    kind = _read(folder / "model_index.json", "_class_name")
    return kind if isinstance(kind, str) else None


def possible_tasks(folder: Path, pipeline: str = "auto") -> frozenset[Task] | None:
    """The tasks that the weights in a folder can do; None if that is not known."""
    tasks = TASKS.get(pipeline_class(folder, pipeline) or "")
    if tasks and _read(folder / "unet" / "config.json", "in_channels") == _INPAINTING_CHANNELS:
        return tasks & _REPAINTED
    return tasks


def takes_prior(prior: str | None, base: str | None) -> bool:
    """Whether a prior reads images for a pipeline, both by class; true where that is not known."""
    family = PRIORS.get(prior or "")
    return family is None or base not in TASKS or base in [f"{family}{it}Pipeline" for it in _EACH]


def _read(file: Path, key: str) -> object:
    try:
        return json.loads(file.read_bytes()).get(key)
    except (OSError, ValueError, AttributeError):  # the loader says what is wrong with it
        return None
