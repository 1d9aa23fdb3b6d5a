"""Models, their manifests and entries, and wheels if they are wanted, as one file to carry away.

Knows what belongs into a bundle; how it looks as bytes is `archive`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field

from pipelines.definitions import OTHERS, Keys, ModelId, Strict, entry_of
from pipelines.lora_files import LoraFiles, LoraName
from pipelines.registry import Registry
from pipelines.weights import archive
from pipelines.weights.digest import Digest
from pipelines.weights.lora_manifests import packed_lora
from pipelines.weights.manifest import (
    Advance,
    Begin,
    Manifest,
    Record,
    WeightsError,
    hash_files,
    read_manifest,
    silently,
)
from pipelines.weights.parts import PartsWriter
from pipelines.weights.safety import model_files, pipeline_files, require_unpickled
from pipelines.weights.staging import require_room

WheelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+!-]*\.whl$")]
_BLOCK = 1 << 22


class Packed(Strict):
    """A model in a bundle, or one of what there is beside models."""

    manifest: Manifest
    entry: str
    """As YAML: what it is defined by where no weights file of the other side defines it."""


class PackedLora(Strict):
    """A LoRA in a bundle."""

    record: Record
    base: tuple[ModelId, ...] = ()
    """The models that it says it was made for."""


class Contents(Strict):
    """The description at the beginning of a bundle."""

    format: Literal[1] = 1
    signed: bool
    wheels: dict[WheelName, Record] = {}
    models: dict[ModelId, Packed]
    loras: dict[LoraName, PackedLora] = {}

    def members(self) -> Iterator[tuple[str, Record]]:
        """(member, record) of each file, in order."""
        for name, record in self.wheels.items():
            yield f"wheels/{name}", record
        for name, lora in self.loras.items():
            yield f"loras/{name}.safetensors", lora.record
        for model, packed in self.models.items():
            for path, record in packed.manifest.files.items():
                yield f"models/{model}/{path}", record


@dataclass(frozen=True, slots=True)
class _Source:
    folder: Path
    packed: Packed


def bundle(
    registry: Registry,
    models: list[str],
    file: Path,
    begin: Begin = silently,
    *,
    loras: Sequence[str] = (),
    part_size: int | None = None,
    wheels: Path | None = None,
    sign: Callable[[bytes], bytes] | None = None,
) -> list[Path]:
    """Write what is installed to `file`, or to parts of it of so many bytes; the files written.

    `models`: ids, or names of what there is beside them. `loras`: names of LoRAs that go with them.
    `wheels` is a folder of them. Raises WeightsError and writes nothing if a model is not what its
    manifest says, or there is none; what has no manifest gets one, in the bundle.
    """
    if not (models or loras):
        raise WeightsError("there is nothing to bundle: name a model, or a LoRA")
    sources = {model: _source(registry, model, begin) for model in models}
    wheel_names = sorted(path.name for path in wheels.glob("*.whl")) if wheels else []
    contents = Contents(
        signed=sign is not None,
        wheels=hash_files(wheels, wheel_names) if wheels else {},
        models={model: source.packed for model, source in sources.items()},
        loras={name: _packed(registry.loras, name, begin) for name in loras},
    )
    folders = {f"models/{model}": source.folder for model, source in sources.items()}
    folders["loras"] = registry.loras.folder
    if wheels is not None:
        folders["wheels"] = wheels
    out = PartsWriter(file, part_size)
    try:
        _write(out, contents, folders, sign, begin(file.name, _size(contents)))
        return out.finish()
    except OSError as error:
        raise WeightsError(f"{file} cannot be written: {error.strerror}") from error
    finally:
        out.discard()


def _write(
    out: PartsWriter,
    contents: Contents,
    folders: dict[str, Path],
    sign: Callable[[bytes], bytes] | None,
    advance: Advance,
) -> None:
    require_room(out.folder, _size(contents))
    writer = archive.Writer(out.write)
    description = contents.model_dump_json(indent=1).encode()
    writer.small(archive.DESCRIPTION, description)
    if sign is not None:
        writer.small(archive.SIGNATURE, sign(description))
    writer.digest()
    for member, record in contents.members():
        folder = next(it for it in folders if member.startswith(f"{it}/"))
        file = folders[folder] / member.removeprefix(f"{folder}/")
        writer.file(member, record.size, _blocks(file, record, advance))
    writer.end()


def _blocks(file: Path, record: Record, advance: Advance) -> Iterator[bytes]:
    size = 0
    with file.open("rb", buffering=0) as source, Digest() as digest:
        while block := source.read(_BLOCK):
            size += len(block)
            if size > record.size:
                break
            digest.update(block)
            yield block
            advance(len(block))
        sha256 = digest.hexdigest()
    if (size, sha256) != (record.size, record.sha256):
        raise WeightsError(f"{file} is not what its manifest says")


def _size(contents: Contents) -> int:
    return archive.length((member, record.size) for member, record in contents.members())


def _source(registry: Registry, model: str, begin: Begin) -> _Source:
    place = registry.path(model)
    folder = place if place.is_dir() else place.parent
    manifest = read_manifest(folder) or _made_now(place, model, begin)
    require_unpickled(folder, manifest.files)
    source = registry.source(model)
    if not source.startswith("hub:"):
        source = "." if place.is_dir() else place.name
    return _Source(folder, Packed(manifest=manifest, entry=_entry(registry, model, source)))


def _packed(loras: LoraFiles, name: str, begin: Begin) -> PackedLora:
    (record,) = packed_lora(loras, name, begin).files.values()
    return PackedLora(record=record, base=tuple(sorted(loras.bases(name) or ())))


def _made_now(place: Path, model: str, begin: Begin) -> Manifest:
    files = model_files if model in OTHERS else pipeline_files
    folder, paths = (place, files(place)) if place.is_dir() else (place.parent, [place.name])
    size = sum((folder / path).stat().st_size for path in paths)
    return Manifest(files=hash_files(folder, paths, begin(f"{model}: hashing", size)))


def _entry(registry: Registry, name: str, source: str) -> str:
    if name in registry.others:
        entry = entry_of(name, {**registry.others[name].keys, "source": source})
    else:
        entry = _model_entry(registry, name, source)
    return yaml.safe_dump(entry, sort_keys=False, allow_unicode=True)


def _model_entry(registry: Registry, model: str, source: str) -> dict[str, Keys]:
    keys = registry.models[model].model_dump(mode="json", exclude_unset=True) | {"source": source}
    if model in registry.bases:
        keys["config"] = registry.bases[model]  # here it is a folder of this machine's
    first_of = [
        name for name in registry.names if name != model and registry.preferences(name)[0] == model
    ]
    return entry_of(model, keys) | {"names": {name: [model] for name in first_of}}
