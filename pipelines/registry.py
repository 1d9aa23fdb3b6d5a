"""weights.yaml -> `Registry`: which models there are, where they lie, which API names they serve.

Knows files and names, not tensors: nothing heavy is imported, and no weight is read.
"""

from collections.abc import Iterator
from math import sqrt
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Level = Literal["low", "medium", "high"]
ModelId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class RegistryError(ValueError):
    """weights.yaml is unusable; the message names file, entry and key."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NativeSize(_Strict):
    """Where a model is good: `smallest`² to `largest`² pixels, sides a multiple of `multiple`, the
    longer side at most `steepest` times the shorter one."""

    smallest: int = Field(ge=8, le=8192)
    largest: int = Field(ge=8, le=8192)
    multiple: int = Field(ge=1, le=256)
    steepest: float = Field(default=4.0, ge=1, le=64)

    @model_validator(mode="after")
    def _ordered(self) -> "NativeSize":
        if self.smallest > self.largest:
            raise ValueError("smallest is above largest")
        return self

    def nearest(self, width: int, height: int) -> tuple[int, int]:
        """The native size, in pixels, nearest in area and aspect ratio to the one asked for."""
        area = min(max(width * height, self.smallest**2), self.largest**2)
        ratio = min(max(width / height, 1 / self.steepest), self.steepest)
        return self._round(sqrt(area * ratio)), self._round(sqrt(area / ratio))

    def _round(self, side: float) -> int:
        return max(self.multiple, round(side / self.multiple) * self.multiple)


class Preset(_Strict):
    """What one quality level means for a model."""

    steps: int = Field(ge=1, le=500)
    guidance_scale: float = Field(ge=0, le=100)


class Quality(_Strict):
    """A preset for each quality level; `standard` and `auto` are medium, `hd` is high."""

    low: Preset
    medium: Preset
    high: Preset


class Strength(_Strict):
    """How far a picture is left behind, from 0 (not at all) to 1: what `strength` is by default."""

    inpaint: float = Field(default=1.0, gt=0, le=1)
    edit: float = Field(default=0.8, gt=0, le=1)
    variation: float = Field(default=0.6, gt=0, le=1)


class ModelSpec(_Strict):
    """One entry under `models`."""

    source: str
    """A folder, relative to the file that defines the entry, or `hub:owner/name`."""
    pipeline: str = "auto"
    """A diffusers pipeline class, or `auto`: the one that the weights' model_index.json names."""
    dtype: Literal["float32", "bfloat16", "float16"]
    native: NativeSize
    quality: Quality
    preload: bool = False
    """Load when the server starts, not when first asked for."""
    strength: Strength = Strength()
    inpaint: ModelId | None = None
    """A model that is better at repainting a part of a picture, and does it where installed."""
    edit: ModelId | None = None
    """A model that was trained to remake a picture as it is told, and does it where installed."""


class _File(_Strict):
    models: dict[ModelId, ModelSpec] = Field(min_length=1)
    names: dict[str, Annotated[list[str], Field(min_length=1)]] = Field(default_factory=dict)


class Registry:
    """The models of one weights.yaml, and the folders in which they are, or would be, installed."""

    def __init__(self, file: Path, models_dir: Path) -> None:
        self._folder = file.resolve().parent
        self._models_dir = models_dir
        content = _read(file)
        self.models: dict[str, ModelSpec] = content.models
        self._names = {name: [name] for name in content.models} | content.names
        _check_references(file, content)

    @property
    def names(self) -> list[str]:
        """Every name that a client may send as `model`, in the order of the file."""
        return list(self._names)

    def path(self, model: str) -> Path:
        """The folder of a model's weights, whether or not it is there."""
        source = self.models[model].source
        if source.startswith("hub:"):
            return self._models_dir / model
        return (self._folder / Path(source).expanduser()).resolve()

    def installed(self, model: str) -> bool:
        return (self.path(model) / "model_index.json").is_file()

    def preferences(self, name: str) -> list[str]:
        """The models that may serve a name, the best first; empty for an unknown name."""
        return self._names.get(name, [])

    def resolve(self, name: str) -> str | None:
        """The model that serves a name: the first installed one of its preferences."""
        return next((model for model in self.preferences(name) if self.installed(model)), None)

    def specialist(self, model: str, work: Literal["inpaint", "edit"]) -> str:
        """The model that does such work in place of another: what its entry names, or itself."""
        named: str | None = getattr(self.models[model], work)
        return named if named is not None and self.installed(named) else model

    def preloaded(self) -> Iterator[str]:
        """The installed models that are loaded when the server starts."""
        return (id for id, spec in self.models.items() if spec.preload and self.installed(id))


def _read(file: Path) -> _File:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RegistryError(f"{file}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise RegistryError(f"{file}: is not YAML: {error}") from error
    try:
        return _File.model_validate(content)
    except ValidationError as error:
        raise RegistryError("\n".join(_complaints(file, error))) from None


def _complaints(file: Path, error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"] if part != "[key]")
        yield f"{file}: {where or 'the whole file'}: {problem['msg']}"


def _check_references(file: Path, content: _File) -> None:
    for name, preferences in content.names.items():
        for model in preferences:
            if model not in content.models:
                raise RegistryError(f"{file}: names.{name}: there is no model '{model}' in models")
    for id, spec in content.models.items():
        for key, named in (("inpaint", spec.inpaint), ("edit", spec.edit)):
            if named is not None and named not in content.models:
                where = f"models.{id}.{key}"
                raise RegistryError(f"{file}: {where}: there is no model '{named}' in models")
