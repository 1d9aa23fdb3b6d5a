"""The files that define models, merged: what each model's entry says, and which file says it.

Knows the layout of the files, not what the keys of an entry mean: that is `registry`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

ModelId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Keys = dict[str, Any]

ENTRY = "entry.yaml"
"""In a model's folder: its entry, which counts where no weights file defines the model."""

DEFAULT = Path("weights.yaml")
SHIPPED = Path(__file__).parent / "shipped" / DEFAULT
"""What stands in for DEFAULT where there is none: part of the wheel, not of the repository."""

SINGLE = (".safetensors", ".gguf")
"""How a source ends that is one file."""
NOT_INHERITED = frozenset({"source", "preload", "licence"})
"""What an entry does not take over from the one that it is `like`."""


class RegistryError(ValueError):
    """A file of definitions is unusable; the message names file, entry and key."""


@dataclass(frozen=True, slots=True)
class Definition:
    """One entry under `models`, complete, and the file that it stands in."""

    file: Path
    keys: Keys


@dataclass(frozen=True, slots=True)
class Definitions:
    """All entries and names of several files."""

    models: dict[str, Definition] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    matting: Definition | None = None
    """What makes backgrounds transparent: `source` alone."""


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    models: Annotated[dict[ModelId, Keys], Field(min_length=1)] = {}
    names: dict[str, Annotated[list[str], Field(min_length=1)]] = {}
    matting: str | None = None


def read_definitions(files: Iterable[Path], models_dir: Path) -> Definitions:
    """Merge weights files, and then what installed models bring along.

    A later file replaces entries of the same id, and its models come before earlier ones in the
    names that both list. Raises RegistryError.
    """
    found, matting = Definitions(), None
    for file in files:
        if file == DEFAULT and not file.exists() and SHIPPED.exists():
            file = SHIPPED
        content = _read(file)
        _add(found, file, content)
        if content.matting is not None:
            matting = Definition(file, {"source": content.matting})
    for file in sorted(models_dir.glob(f"*/{ENTRY}")):
        if not file.parent.name.startswith(".") and file.parent.name not in found.models:
            _add(found, file, read_entry(file, file.parent.name))
    keys = {id: _inherited(id, found, ()) for id in found.models}
    complete = {id: Definition(it.file, keys[id]) for id, it in found.models.items()}
    return Definitions(complete, found.names, matting)


def read_entry(file: Path, id: str) -> _File:
    """The entry that a model has in its own folder: for it alone, and named by it alone."""
    content = _read(file)
    if content.models.keys() != {id} or content.matting is not None:
        raise RegistryError(f"{file}: models: must define '{id}' and nothing else")
    for name, preferences in content.names.items():
        if preferences != [id]:
            raise RegistryError(f"{file}: names.{name}: must be [{id}]")
    source = content.models[id].get("source")
    if not isinstance(source, str) or not _stays(source):
        raise RegistryError(f"{file}: models.{id}.source: must lie in the model's own folder")
    return content


def _stays(source: str) -> bool:
    if source.startswith("hub:"):
        return True
    path = Path(source)
    return not path.is_absolute() and ".." not in path.parts and not source.startswith("~")


def complaints(file: Path, error: ValidationError, *where: str) -> Iterator[str]:
    """What is wrong, a line each: file, entry and key, what."""
    for problem in error.errors():
        path = ".".join([*where, *(str(part) for part in problem["loc"] if part != "[key]")])
        yield f"{file}: {path or 'the whole file'}: {problem['msg']}"


def _add(found: Definitions, file: Path, content: _File) -> None:
    found.models.update({id: Definition(file, keys) for id, keys in content.models.items()})
    for name, preferences in content.names.items():
        for model in preferences:
            if model not in found.models:
                raise RegistryError(f"{file}: names.{name}: there is no model '{model}' in models")
        earlier = found.names.get(name, [])
        found.names[name] = preferences + [id for id in earlier if id not in preferences]


def _inherited(id: str, found: Definitions, asked_by: tuple[str, ...]) -> Keys:
    definition = found.models[id]
    where = f"{definition.file}: models.{id}.like"
    keys = dict(definition.keys)
    like = keys.pop("like", None)
    if like is None:
        return keys
    if like not in found.models:
        raise RegistryError(f"{where}: there is no model '{like}' in models")
    if like in (id, *asked_by):
        raise RegistryError(f"{where}: '{id}' is like itself")
    base = _inherited(like, found, (id, *asked_by))
    if str(keys.get("source")).endswith(SINGLE):
        keys.setdefault("config", like)
    return _overlaid({k: v for k, v in base.items() if k not in NOT_INHERITED}, keys)


def _overlaid(base: Keys, keys: Keys) -> Keys:
    both = base | keys
    for key in base.keys() & keys.keys():
        if isinstance(base[key], dict) and isinstance(keys[key], dict):
            both[key] = _overlaid(base[key], keys[key])
    return both


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
        raise RegistryError("\n".join(complaints(file, error))) from None
