"""weights.yaml -> `Registry`: which models there are, where they lie, which API names they serve.

Knows files and names, not tensors: nothing heavy is imported, and no weight is read.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from pipelines.core import Task
from pipelines.definitions import (
    ENTRY,
    OTHERS,
    SINGLE,
    SPECIALISTS,
    Definition,
    ModelId,
    RegistryError,
    Source,
    Strict,
    complaints,
    read_definitions,
    read_entry,
    resolve_path,
)
from pipelines.families import pipeline_class, possible_tasks, takes_prior
from pipelines.lora_files import FOLDER, LoraFiles
from pipelines.model_names import PUBLISHED, known_name
from pipelines.others import HUB, MATTING, check_other, others_of
from pipelines.presets import NativeSize, Preset, Quality, Strength
from pipelines.wording import Language, Templates

__all__ = [
    "ENTRY",
    "ModelSpec",
    "NativeSize",
    "Preset",
    "Quality",
    "Registry",
    "RegistryError",
    "check_references",
    "read_spec",
]

Level = Literal["low", "medium", "high"]
Offload = Literal["auto", "none", "text", "group"]
Quantize = Literal["none", "auto", "float8", "int8", "nf4"]
Prediction = Literal["epsilon", "v", "flow"]

RESERVED = frozenset({*OTHERS, FOLDER})
"""Folders of what is there beside models, by which no model can be called."""

_PLAIN_TASKS: frozenset[Task] = frozenset({"text2img", "img2img", "inpaint"})


class ModelSpec(Strict):
    """One entry under `models`."""

    source: Source
    """A folder, or one `.safetensors` or `.gguf` file, relative to the file that defines the entry,
    or `hub:owner/name`."""
    config: str | None = None
    """Of one file: the id of a model, or a folder, with all that is not in the file. In a registry,
    the folder in either case."""
    pipeline: Annotated[str, Field(pattern=r"^(auto|[A-Z][A-Za-z0-9]*)$")] = "auto"
    """A diffusers pipeline class, or `auto`: the one that the weights' model_index.json names."""
    dtype: Literal["float32", "bfloat16", "float16"]
    native: NativeSize
    quality: Quality
    offload: Offload = "auto"
    """What of it waits in the host's memory, where a device has too little; see `plans`."""
    quantization: Quantize = "none"
    """In how few bits the large ones of its weights are stored; see `quantizations`."""
    prediction: Prediction | None = None
    """What the denoiser predicts: the noise, the velocity of diffusion, or that of a flow. None:
    what its file says, or else its noise scheduler's configuration."""
    zero_terminal_snr: bool | None = None
    """Whether sampling begins with pure noise. None: as above."""
    preload: bool = False
    """Load when the server starts, not when first asked for."""
    strength: Strength = Strength()
    inpaint: ModelId | None = None
    """A model that is better at repainting a part of a picture, and does it where installed."""
    edit: ModelId | None = None
    """A model that was trained to remake a picture as it is told, and does it where installed."""
    variation: ModelId | None = None
    """A prior that reads a picture for this model, and makes its variations where installed."""
    tasks: Annotated[frozenset[Task], Field(min_length=1)] = _PLAIN_TASKS
    """What diffusers has pipelines for, with these weights. In a registry, what their family can do
    where the entry does not say."""
    references: int = Field(default=0, ge=0, le=15)
    """The most pictures that an edit looks at, beside the one that is edited."""
    ignores: frozenset[Literal["negative_prompt", "guidance_scale"]] = frozenset()
    """The extensions that change nothing with these weights."""
    licence: str | None = None
    """An SPDX identifier, or the name that its authors gave it."""
    memory: float | None = Field(default=None, gt=0)
    """GB on the device, roughly: the weights, and an image of the largest native size."""
    languages: Annotated[tuple[Language, ...], Field(min_length=1)] = ("en",)
    """Of prompts: ISO 639 codes, the one that it knows best first."""
    prompt_tokens: int | None = Field(default=None, ge=8)
    """What its text encoder reads of a prompt; None where nobody has said."""
    templates: dict[Language, Templates] = {}
    """What a prompt becomes for a style, by the language that it is in."""

    @model_validator(mode="after")
    def _not_both(self) -> "ModelSpec":
        if self.offload == "group" and self.quantization != "none":
            raise ValueError("what is streamed is not quantized: take offload text, none or auto")
        if self.source.endswith(".safetensors") and self.quantization not in ("none", "auto"):
            raise ValueError("diffusers quantizes folders, no single file: take a GGUF")
        return self


class Registry:
    """The models of weights.yaml and of files that add to it, and the folders in which they are,
    or would be, installed."""

    def __init__(self, weights: Path | Sequence[Path], models_dir: Path) -> None:
        files = [weights] if isinstance(weights, Path) else weights
        self._models_dir = models_dir
        self.loras = LoraFiles(models_dir / FOLDER)
        found = read_definitions(files, models_dir)
        self.files = {id: it.file for id, it in found.models.items()}
        """The file that defines each model."""
        self.models = {id: _spec(id, it) for id, it in found.models.items()}
        others = others_of(found.beside, models_dir)
        self.policy = others.policy
        """What is refused, and by what."""
        self.rewriter = others.rewriter
        """What rewrites prompts, whether or not it is installed."""
        self.others = others.by_name
        """What has weights and makes no image, by the name that it is pulled by."""
        self.bases: dict[str, str] = {}
        """For a model that is one file, the model whose folder has what is not in it."""
        self._settle_configs()
        self._settle_tasks()
        self._names = {id: [id] for id in self.models} | found.names
        check_references(self.files, self.models)

    @property
    def names(self) -> list[str]:
        """Every name that a client may send as `model`, in the order of the file."""
        return list(self._names)

    def source(self, id: str) -> str:
        """Where the weights of a model, or of one of the others, come from."""
        return self.others[id].source if id in self.others else self.models[id].source

    def path(self, model: str) -> Path:
        """The folder or file of a model's weights, or of another's, whether or not it is there."""
        if model in self.others:
            return self.others[model].folder
        source = self.models[model].source
        if source.startswith(HUB):
            return self._models_dir / model
        return resolve_path(self.files[model], source)

    @property
    def matting(self) -> Path | None:
        """The folder of the model that makes backgrounds transparent, where one is installed."""
        other = self.others.get(MATTING)
        return other.folder if other and other.installed else None

    def installed(self, model: str) -> bool:
        """Whether a model, or one of the others, is there to be loaded."""
        if model in self.others:
            return self.others[model].installed
        return (self._folder(model) / "model_index.json").is_file()

    def preferences(self, name: str) -> list[str]:
        """The models that may serve a name, the best first; empty for an unknown name."""
        return self._names.get(name, [])

    def known_name(self, name: str, strict: bool = False) -> str | None:
        """The name of weights.yaml that a name stands for (see `model_names`), if any.

        `strict`: only names that OpenAI has stand for others.
        """
        if strict and name not in self._names and name not in PUBLISHED:
            return None
        return known_name(name, self._names)

    def size(self, model: str) -> int:
        """The bytes of a model's weights; 0 if it is not installed."""
        path = self.path(model)
        files = [path] if path.is_file() else path.rglob("*.safetensors")
        return sum(file.stat().st_size for file in files)

    def resolve(self, name: str, tasks: Collection[Task] = ()) -> str | None:
        """The model that serves a name: the first installed one of its preferences, among those
        that have one of these tasks."""
        found = (model for model in self.preferences(name) if self.installed(model))
        return next((it for it in found if not tasks or self.models[it].tasks & set(tasks)), None)

    def specialist(self, model: str, work: Literal["inpaint", "edit", "variation"]) -> str:
        """The model that does such work in place of another: what its entry names, or itself."""
        named: str | None = getattr(self.models[model], work)
        return named if named is not None and self.installed(named) else model

    def _settle_configs(self) -> None:
        """Give each model that is one file the folder for what is not in it. Raises RegistryError.

        Where that is a single file, too, it is the folder of that one.
        """
        for id, spec in self.models.items():
            if not spec.source.endswith(SINGLE) and self.path(id).is_file():
                where = f"{self.files[id]}: models.{id}.source"
                raise RegistryError(f"{where}: one file must be .safetensors or .gguf")
            if spec.source.endswith(SINGLE):
                told, seen = spec.config, {id}
                while told in self.models and self.models[told].source.endswith(SINGLE):
                    if told in seen:
                        raise RegistryError(f"{self.files[id]}: models.{id}.config: is its own")
                    seen.add(told)
                    told = self.models[told].config
                if told is None:
                    raise RegistryError(f"{self.files[id]}: models.{id}.config: Field required")
                if told in self.models:
                    self.bases[id], folder = told, self.path(told)
                else:
                    folder = resolve_path(self.files[id], told)
                self.models[id] = spec.model_copy(update={"config": str(folder)})

    def _settle_tasks(self) -> None:
        """Give each model the tasks of its family, where its entry names none. Raises RegistryError
        for an entry that names a task, or a prior, that cannot work with its weights."""
        for id, spec in self.models.items():
            where, folder = f"{self.files[id]}: models.{id}", self._folder(id)
            kind = pipeline_class(folder, spec.pipeline)
            if spec.variation in self.models:
                prior = pipeline_class(self._folder(spec.variation))
                if not takes_prior(prior, kind):
                    told = f"'{spec.variation}' is a {prior}, which cannot read images for a {kind}"
                    raise RegistryError(f"{where}.variation: {told}")
            possible = possible_tasks(folder, spec.pipeline)
            if possible is None:
                continue
            if "tasks" not in spec.model_fields_set:
                self.models[id] = spec.model_copy(update={"tasks": possible})
            elif impossible := sorted(spec.tasks - possible):
                raise RegistryError(
                    f"{where}.tasks: the weights are those of a {kind}, which cannot do "
                    f"{', '.join(impossible)}. Leave the key out, or name some of "
                    f"{', '.join(sorted(possible))}"
                )

    def _folder(self, model: str) -> Path:
        """Where the configuration of a model's pipeline lies."""
        path, config = self.path(model), self.models[model].config
        return Path(config) if config and path.is_file() else path

    def preloaded(self) -> Iterator[str]:
        """The installed models that are loaded when the server starts."""
        return (id for id, spec in self.models.items() if spec.preload and self.installed(id))


def _spec(id: str, definition: Definition) -> ModelSpec:
    try:
        return ModelSpec.model_validate(definition.keys)
    except ValidationError as error:
        lines = complaints(definition.file, error, "models", id)
        raise RegistryError("\n".join(lines)) from None


def read_spec(file: Path, id: str) -> ModelSpec | None:
    """What an entry in a folder of its own says of a model, None for another checkpoint.

    Raises RegistryError if it is unusable.
    """
    if id in OTHERS:
        check_other(file, id)
        return None
    return _spec(id, Definition(file, read_entry(file, id)))


def check_references(files: Mapping[str, Path], models: Mapping[str, ModelSpec]) -> None:
    """Raise RegistryError unless each model that these files define can be called as it is, and
    those that it names are among the models and can do what they are named for."""
    for id, file in files.items():
        if id in RESERVED:
            raise RegistryError(f"{file}: models.{id}: is the name of something else, take another")
        for key, tasks in SPECIALISTS.items():
            named, where = getattr(models[id], key), f"{file}: models.{id}.{key}"
            if named is not None and named not in models:
                raise RegistryError(f"{where}: there is no model '{named}' in models")
            if named is not None and not tasks & models[named].tasks:
                raise RegistryError(f"{where}: '{named}' has no such task")
