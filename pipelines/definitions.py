"""The files that define models, merged: what each model's entry says, and which file says it.

Knows the layout of the files, not what the keys of an entry mean: that is `registry`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

ModelId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Keys = dict[str, Any]

ENTRY = "entry.yaml"
"""In a model's folder: its entry, which counts where no weights file defines the model."""

DEFAULT = Path("weights.yaml")
_PACKED = Path(__file__).parent / "shipped"
_SHIPPED_FOLDER = _PACKED if _PACKED.is_dir() else Path(__file__).parents[1]
"""Part of the wheel; in a checkout, the repository itself."""
SHIPPED = _SHIPPED_FOLDER / DEFAULT
"""What stands in for DEFAULT where there is none."""
_SHIPPED_NAMES = ("policy", "weights")
"""What the shipped file names beside itself."""

SINGLE = (".safetensors", ".gguf")
"""How a source ends that is one file."""
NOT_INHERITED = frozenset({"source", "preload", "licence"})
"""What an entry does not take over from the one that it is `like`."""

SPECIALISTS: Mapping[str, frozenset[str]] = {
    "inpaint": frozenset({"inpaint", "edit"}),
    "edit": frozenset({"edit"}),
    "variation": frozenset({"variation"}),
}
"""The keys of an entry that name a model for some work, and the tasks by which it does it. Where it
names itself, so does an entry that is `like` it and can do the work."""

OTHERS: Mapping[str, tuple[str, ...]] = {
    "matting": ("matting",),
    "rewriter": ("rewriter",),
    "policy-prompts": ("policy", "prompts"),
    "policy-images": ("policy", "images"),
}
"""What has weights and makes no image, by its name and folder: the keys under which it is."""


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
    beside: dict[str, Definition] = field(default_factory=dict)
    """What there is beside models: `matting`, `policy` and `rewriter`, see `others`."""


def _found_by(source: str) -> str:
    of_the_hub = source.lower().startswith("hub:")
    if not source or "://" in source or (of_the_hub and not _HUB.fullmatch(source)):
        raise ValueError("must be hub:owner/name, or a path, and no URL")
    return source


_HUB = re.compile(r"hub:\w[\w.-]*/\w[\w.-]*", re.ASCII)
Source = Annotated[str, AfterValidator(_found_by)]
"""Where weights come from."""


class Strict(BaseModel):
    """Data from a file that others may have written: nothing unknown, nothing changed later."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _Source(Strict):
    source: Source


def _as_source(value: object) -> object:
    return {"source": value} if isinstance(value, str) else value


class _File(Strict):
    models: dict[ModelId, Keys] = {}
    names: dict[str, Annotated[list[str], Field(min_length=1)]] = {}
    matting: Annotated[_Source, BeforeValidator(_as_source)] | None = None
    policy: Keys | None = None
    rewriter: Keys | None = None
    templates: dict[str, Keys] = {}

    @property
    def said(self) -> Keys:
        """What stands in it."""
        dumped = self.model_dump(exclude_unset=True)
        return {key: value for key, value in dumped.items() if value is not None}


def resolve_path(file: Path, path: str) -> Path:
    """Resolve a path in a weights file: relative to that file, or else to the shipped one, so that
    a copy of the shipped file works in any folder."""
    beside = (file.parent / Path(path).expanduser()).resolve()
    shipped = _SHIPPED_FOLDER / path
    is_shipped = Path(path).parts[:1] and Path(path).parts[0] in _SHIPPED_NAMES
    if is_shipped and not beside.exists() and shipped.exists():
        return shipped.resolve()
    return beside


def read_definitions(files: Iterable[Path], models_dir: Path) -> Definitions:
    """Merge weights files, and then what installed models bring along.

    A later file replaces entries of the same id, and its models come before earlier ones in the
    names that both list. Raises RegistryError.
    """
    found = Definitions()
    templates: dict[str, Keys] = {}
    installed = {file.parent.name: file for file in sorted(models_dir.glob(f"[!.]*/{ENTRY}"))}
    for file in files:
        if file == DEFAULT and not file.exists() and SHIPPED.exists():
            file = SHIPPED
        content = _read(file)
        _add(found, file, content, installed)
        for key in ("matting", "policy", "rewriter"):
            if (keys := content.said.get(key)) is not None:
                found.beside[key] = Definition(file, keys)
        templates |= content.templates
    for name, file in installed.items():
        if name in OTHERS:
            _bring(found, file, name)
        elif name not in found.models:
            _add(found, file, _entry(file, name), installed)
    inherited = {id: _inherited(id, found, ()) for id in found.models}
    complete = {
        id: Definition(it.file, _with_templates(it.file, id, inherited[id], templates))
        for id, it in found.models.items()
    }
    return replace(found, models=complete)


def read_entry(file: Path, id: str) -> Keys:
    """The keys of the entry that a model, or one of OTHERS, has in its own folder: for it alone,
    and named by it alone. Raises RegistryError."""
    return keys_of(id, _entry(file, id).said)


def keys_of(id: str, said: Keys) -> Keys:
    """The keys of a model, or of one of OTHERS, in a file; none where there is something else."""
    for key in _where(id):
        said = said[key] if isinstance(said.get(key), dict) else {}
    return said


def entry_of(id: str, keys: Keys) -> dict[str, Keys]:
    """An entry for a model, or one of OTHERS, with these keys."""
    for key in reversed(_where(id)):
        keys = {key: keys}
    return keys


def _where(id: str) -> tuple[str, ...]:
    return OTHERS.get(id, ("models", id))


def _entry(file: Path, id: str) -> _File:
    content = _read(file)
    said = {key: it for key, it in content.said.items() if key != "names" or id in OTHERS}
    keys = keys_of(id, said)
    if said != entry_of(id, keys):
        raise RegistryError(f"{file}: must define '{id}' and nothing else")
    for name, preferences in content.names.items():
        if preferences != [id]:
            raise RegistryError(f"{file}: names.{name}: must be [{id}]")
    source = keys.get("source")
    if not isinstance(source, str) or not _stays(source):
        where = ".".join([*_where(id), "source"])
        raise RegistryError(f"{file}: {where}: must lie in its own folder")
    return content


def _bring(found: Definitions, file: Path, name: str) -> None:
    """Let what has its entry in its own folder count where no weights file says otherwise.

    Part of a policy counts within a policy alone: what was carried here does not begin to refuse.
    """
    key, *inner = OTHERS[name]
    keys = dict(read_entry(file, name))
    if not keys["source"].startswith("hub:"):
        keys["source"] = str((file.parent / keys["source"]).resolve())
    there = found.beside.get(key)
    if not inner and there is None:
        found.beside[key] = Definition(file, keys)
    for part in inner:
        if there is not None and part not in there.keys:
            found.beside[key] = replace(there, keys=there.keys | {part: keys})


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


def _add(found: Definitions, file: Path, content: _File, installed: Keys) -> None:
    found.models.update({id: Definition(file, keys) for id, keys in content.models.items()})
    for name, preferences in content.names.items():
        for model in preferences:
            if model not in found.models and model not in installed.keys() - OTHERS.keys():
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
    if not isinstance(like, str) or like not in found.models:
        raise RegistryError(f"{where}: there is no model '{like}' in models")
    if like in (id, *asked_by):
        raise RegistryError(f"{where}: '{id}' is like itself")
    base = _inherited(like, found, (id, *asked_by))
    if str(keys.get("source")).endswith(SINGLE):
        keys.setdefault("config", like)
    itself = {key: id for key in SPECIALISTS if base.get(key) == like and _can(keys, key)}
    taken = {k: v for k, v in base.items() if k not in NOT_INHERITED}
    return _overlaid(taken | itself, keys)


def _can(keys: Keys, work: str) -> bool:
    """Whether an entry's own tasks, if it names any, leave it some work."""
    tasks = keys.get("tasks")
    return not isinstance(tasks, list) or any(it in tasks for it in SPECIALISTS[work])


def _with_templates(file: Path, id: str, keys: Keys, templates: dict[str, Keys]) -> Keys:
    """An entry that names templates has them: so it is whole, wherever it is taken."""
    named = keys.get("templates")
    if not isinstance(named, str):
        return keys
    if named not in templates:
        where = f"{file}: models.{id}.templates"
        raise RegistryError(f"{where}: there is no '{named}' in templates")
    return keys | {"templates": templates[named]}


def _overlaid(base: Keys, keys: Keys) -> Keys:
    both = base | keys
    for key in base.keys() & keys.keys():
        if isinstance(base[key], dict) and isinstance(keys[key], dict):
            both[key] = _overlaid(base[key], keys[key])
    return both


class _Loader(yaml.SafeLoader):
    """Takes no key twice, where the first one would count for nothing."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"{key.value!r} is there twice,", problem_mark=key.start_mark
                )
            seen.add(str(key.value))
        return node


def _read(file: Path) -> _File:
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise RegistryError(f"{file}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        what = " ".join(str(error).split())  # it draws what it means over several lines
        raise RegistryError(f"{file}: is not YAML: {what}") from error
    try:
        return _File.model_validate(content)
    except ValidationError as error:
        raise RegistryError("\n".join(complaints(file, error))) from None
