"""ModelSpec + device -> a diffusers pipeline whose modules are places where lanes meet.

Knows files and diffusers; not who asked, nor what else is in memory. Nothing is fetched.
"""

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from pipelines.core import Task
from pipelines.joins import Join, join_for
from pipelines.memory import Memory
from pipelines.registry import ModelSpec
from pipelines.rendezvous import Rendezvous
from pipelines.tasks.arguments import parameters

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class Resident:
    """A model in a device's memory."""

    spec: ModelSpec
    pipe: Any
    """A diffusers pipeline; lanes run forks of it, never itself."""
    meetings: list[Rendezvous] = field(default_factory=list)
    _siblings: dict[Task, Any] = field(default_factory=dict)

    def pipe_for(self, task: Task) -> Any:
        """The pipeline for a task: the model's own, or a sibling that shares its modules.

        Raises ValueError if diffusers has none for this family.
        """
        if task not in self._siblings:
            self._siblings[task] = _sibling(self.pipe, task)
        return self._siblings[task]


def load(spec: ModelSpec, folder: Path, device: str, memory: Memory) -> Resident:
    """Read a model's weights, safetensors only, and put them on a device, ready for lanes.

    Raises what diffusers raises: OSError for missing files, ValueError for unfitting ones.
    """
    pipe = _pipeline_class(spec).from_pretrained(
        folder,
        dtype=DTYPES[spec.dtype],
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
    )
    pipe.set_progress_bar_config(disable=True)
    _widen_autoencoder(pipe)
    pipe.to(device)
    return Resident(spec, pipe, _meet(pipe, memory))


def _sibling(pipe: Any, task: Task) -> Any:
    import diffusers

    families = {
        "text2img": diffusers.AutoPipelineForText2Image,
        "img2img": diffusers.AutoPipelineForImage2Image,
        "inpaint": diffusers.AutoPipelineForInpainting,
    }
    if task == task_of(pipe):
        return pipe
    if task not in families:
        raise ValueError(f"{type(pipe).__name__} has no task '{task}'")
    # Not `DiffusionPipeline.from_pipe`, which casts the shared modules to float32, in place.
    sibling = families[task].from_pipe(pipe)
    sibling.set_progress_bar_config(disable=True)
    return sibling


def task_of(pipe: Any) -> Task:
    """What a pipeline is made for, told by the pictures that its call takes."""
    takes = parameters(pipe).keys()
    if "mask_image" in takes:
        return "inpaint"
    if "image" in takes:
        return "img2img" if "strength" in takes else "edit"
    return "text2img"


def _pipeline_class(spec: ModelSpec) -> Any:
    import diffusers

    return getattr(diffusers, "DiffusionPipeline" if spec.pipeline == "auto" else spec.pipeline)


def _widen_autoencoder(pipe: Any) -> None:
    """An autoencoder that overflows in float16 lives in float32.

    SDXL's pipelines would widen it around each use and narrow it again, under other lanes' feet.
    """
    vae = getattr(pipe, "vae", None)
    if vae is None or vae.dtype != torch.float16 or not vae.config.get("force_upcast"):
        return
    vae.to(torch.float32)
    vae.register_to_config(force_upcast=False)
    vae.encode, vae.decode = _wide(vae.encode), _wide(vae.decode)


def _wide(method: Any) -> Any:
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        wide = {name: _as_float32(value) for name, value in kwargs.items()}
        return method(*map(_as_float32, args), **wide)

    return call


def _as_float32(value: Any) -> Any:
    return value.float() if torch.is_tensor(value) else value


def _meet(pipe: Any, memory: Memory) -> list[Rendezvous]:
    return [
        Rendezvous(module, join, memory)
        for module, join in _meeting_modules(pipe)
        if not isinstance(getattr(module, join.method), Rendezvous)
    ]


def _meeting_modules(pipe: Any) -> list[tuple[torch.nn.Module, Join]]:
    found = []
    for name, module in pipe.components.items():
        if isinstance(module, torch.nn.Module):
            join = join_for(name, type(module).__name__)
            if join is not None:
                found.append((module, join))
    return found
