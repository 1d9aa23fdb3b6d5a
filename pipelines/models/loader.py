"""ModelSpec + device -> a diffusers pipeline whose modules are places where lanes meet.

Knows files and diffusers; not who asked, nor what else is in memory. Nothing is fetched.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from pipelines.core import Task, UnsupportedTask
from pipelines.lanes.constructing import constructing
from pipelines.lanes.joins import Join, joins_for
from pipelines.lanes.memory import Memory
from pipelines.lanes.rendezvous import Rendezvous, rendezvous_at
from pipelines.models.checkpoint_keys import NoiseSettings, noise_settings
from pipelines.models.components import Shelf
from pipelines.models.fingerprints import fingerprints
from pipelines.models.folders import read_components
from pipelines.models.footprints import Component, Parts
from pipelines.models.inspection import Guard, Inspector
from pipelines.models.instance_caches import use_instance_caches
from pipelines.models.loras import Loras
from pipelines.models.matting import Matting
from pipelines.models.noise_schedules import configure_noise
from pipelines.models.precision import fix_autoencoder_precision
from pipelines.models.quantizations import unable
from pipelines.models.quantizing import mixes_rows, quantized
from pipelines.models.siblings import sibling, with_prior
from pipelines.models.single_files import read_file, require_safe
from pipelines.registry import ModelSpec
from pipelines.tasks.arguments import limit_text
from pipelines.weights.layout import variant_of
from pipelines.weights.manifest import WeightsError
from pipelines.weights.verify import require_trusted

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class Resident:
    """A model in a device's memory."""

    spec: ModelSpec
    pipe: Any
    """A diffusers pipeline; lanes run forks of it, never itself."""
    meetings: list[Rendezvous] = field(default_factory=list)
    matting: Matting | None = None
    """What cuts out the device's images."""
    inspector: Inspector | None = None
    """What judges them."""
    guard: Guard | None = None
    """What judges those of this model, and came with it."""
    parts: Parts = field(default_factory=dict)
    """The bytes of the device that it takes."""
    loras: Loras = field(default_factory=Loras)
    """Those of the device."""
    _siblings: dict[Task, Any] = field(default_factory=dict)

    def pipe_for(self, task: Task) -> Any:
        """The pipeline for a task: the model's own, or a sibling that shares its modules.

        Raises UnsupportedTask if diffusers has none for this family.
        """
        if task not in self._siblings:
            try:
                self._siblings[task] = sibling(self.pipe, task)
            except ValueError as error:
                raise UnsupportedTask(task) from error
        return self._siblings[task]


def load(
    spec: ModelSpec,
    folder: Path,
    device: str,
    memory: Memory,
    prior: Path | None = None,
    shelf: Shelf | None = None,
) -> Resident:
    """Read a model's weights, safetensors only, and put them on a device, ready for lanes.

    `prior`: the folder of the one that reads pictures for it. Raises what diffusers raises: OSError
    for missing files, ValueError for unfitting ones; and WeightsError for files that are not their
    manifest's, or would run code.
    """
    shelf = shelf or Shelf(device)
    if (reason := unable(spec.quantization, device)) is not None:
        raise WeightsError(f"quantization: {reason}")
    components = shelf.planned(spec, folder, prior)
    pipe = _read(spec.pipeline, spec, folder, shelf, components)
    configure_noise(
        pipe, NoiseSettings(spec.prediction, spec.zero_terminal_snr), _noise_settings(folder)
    )
    names = _names(spec, folder, components)
    resident = Resident(spec, pipe, meet(pipe, names, memory), guard=_guard(pipe, names))
    if prior is not None:
        reader = _read("auto", spec, prior, shelf, shelf.planned(spec, prior))
        resident._siblings["variation"] = with_prior(pipe, reader)
    return resident


def _noise_settings(place: Path) -> NoiseSettings:
    return noise_settings(place) if place.suffix == ".safetensors" else NoiseSettings()


def _guard(pipe: Any, names: Mapping[str, str]) -> Guard | None:
    if getattr(pipe, Guard.key, None) is None:
        return None
    return Guard(pipe, names[Guard.key])


def _names(spec: ModelSpec, place: Path, components: Mapping[str, Component]) -> Mapping[str, str]:
    """For weights as they are in memory: of another type, they answer otherwise."""
    stored = {name: it.quantization for name, it in components.items()}
    files = fingerprints(place, Path(spec.config) if spec.config else None)
    return {name: f"{file}-{spec.dtype}-{stored.get(name, 'none')}" for name, file in files.items()}


def _read(
    name: str, spec: ModelSpec, folder: Path, shelf: Shelf, components: Mapping[str, Component]
) -> Any:
    require_trusted(folder)
    known = shelf.known(components)
    stored = {it: wanted.quantization for it, wanted in components.items() if it not in known}
    with constructing():
        if folder.is_file():
            pipe = _read_file(name, spec, folder, known, stored)
        else:
            pipe = _read_folder(name, spec, folder, known, stored)
    pipe.set_progress_bar_config(disable=True)
    fix_autoencoder_precision(pipe)
    _forget_past_keys(pipe)
    for component in pipe.components.values():
        if isinstance(component, torch.nn.Module):
            use_instance_caches(component)
    if spec.prompt_tokens:
        limit_text(pipe, spec.prompt_tokens)
    shelf.put(pipe, components)
    return pipe


def _read_folder(
    name: str, spec: ModelSpec, folder: Path, known: Mapping[str, Any], stored: Mapping[str, str]
) -> Any:
    dtype = DTYPES[spec.dtype]
    modules = {**known, **read_components(folder, dtype, known, stored)}
    return _pipeline_class(name).from_pretrained(
        folder,
        dtype=dtype,
        variant=variant_of(folder),
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        **quantized(stored, folder, dtype),
        **modules,
    )


def _read_file(
    name: str, spec: ModelSpec, file: Path, known: Mapping[str, Any], stored: Mapping[str, str]
) -> Any:
    if spec.config is None:
        raise WeightsError(f"{file} is a single file, and its entry names no config")
    require_trusted(Path(spec.config))
    require_safe(file, Path(spec.config))
    return read_file(name, file, Path(spec.config), DTYPES[spec.dtype], known, stored)


def _pipeline_class(name: str) -> Any:
    import diffusers

    return getattr(diffusers, "DiffusionPipeline" if name == "auto" else name)


def _forget_past_keys(pipe: Any) -> None:
    """Text encoders that are language models answer once: what they would keep to go on writing
    would only be kept with their answers."""
    for module in pipe.components.values():
        config: Any = getattr(module, "config", None)
        if isinstance(module, torch.nn.Module) and hasattr(config, "get_text_config"):
            config.get_text_config().use_cache = False


def meet(pipe: Any, names: Mapping[str, str], memory: Memory) -> list[Rendezvous]:
    """Put a meeting place on every module that lanes share; `names` are those of its weights."""
    return [
        Rendezvous(names.get(component, component), module, _apart(module, join), memory)
        for component, module, join in _meeting_modules(pipe)
        if rendezvous_at(module, join.method) is None
    ]


def _apart(module: torch.nn.Module, join: Join) -> Join:
    return replace(join, rows_of=None) if mixes_rows(module) else join


def _meeting_modules(pipe: Any) -> list[tuple[str, torch.nn.Module, Join]]:
    return [
        (name, module, join)
        for name, module in pipe.components.items()
        if isinstance(module, torch.nn.Module)
        for join in joins_for(name, type(module).__name__)
    ]
