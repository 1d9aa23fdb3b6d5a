"""A bundle that was carried in, unpacked: all of it is right, or none of it is installed."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from pipelines.definitions import ENTRY
from pipelines.lora_files import FOLDER as LORAS
from pipelines.registry import Registry, RegistryError, check_references, read_spec
from pipelines.weights import archive
from pipelines.weights.archive import BrokenBundle, Reader
from pipelines.weights.bundle import Contents, PackedLora
from pipelines.weights.digest import Digest
from pipelines.weights.lora_manifests import install_lora
from pipelines.weights.manifest import Begin, Manifest, Record, WeightsError, silently
from pipelines.weights.parts import PartsReader
from pipelines.weights.safety import require_harmless, require_unpickled
from pipelines.weights.signing import require_signature
from pipelines.weights.staging import clear, finish, install, require_room, staging

_NAME = "~unbundle"


def unbundle(
    file: Path,
    models_dir: Path,
    begin: Begin = silently,
    *,
    registry: Registry | None = None,
    trust: str | None = None,
    wheels: Path | None = None,
) -> dict[str, Manifest]:
    """Verify a bundle while it is read, and install what is in it; the manifests by id.

    `registry`: what this side has, to which new entries may refer, and by which some of the models
    may be defined already. `trust`: a public key that must have signed. `wheels`: a folder for the
    wheels, which are else only verified. Raises WeightsError.
    """
    source = PartsReader(file)
    with staging(models_dir, _NAME) as staged:
        clear(staged)
        try:
            reader = Reader(source.read, begin(file.name, source.size))
            contents = _contents(reader, trust)
            require_room(staged, sum(record.size for _, record in contents.members()))
            for member, record in contents.members():
                _extract(reader.file(member, record.size), staged / member, record)
            reader.end()
            _check(staged, contents)
            _check_entries(staged, contents, registry, models_dir)
            if wheels is not None and contents.wheels:
                shutil.copytree(staged / "wheels", wheels, dirs_exist_ok=True)
            for model in contents.models:
                install(staged / "models" / model, models_dir / model)
            for name, lora in contents.loras.items():
                (models_dir / LORAS).mkdir(exist_ok=True)
                arrived = staged / "loras" / f"{name}.safetensors"
                target = models_dir / LORAS / f"{name}.safetensors"
                install_lora(arrived, target, _manifest(name, lora), lora.base)
        except OSError as error:
            raise WeightsError(f"{file} cannot be unpacked: {error.strerror}") from error
        finally:
            source.close()
            shutil.rmtree(staged, ignore_errors=True)
    models = {model: packed.manifest for model, packed in contents.models.items()}
    return models | {f"{LORAS}/{name}": _manifest(name, it) for name, it in contents.loras.items()}


def _contents(reader: Reader, trust: str | None) -> Contents:
    description = reader.small(archive.DESCRIPTION)
    try:
        contents = Contents.model_validate_json(description)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise BrokenBundle(f"the bundle's description: {where}: {problem['msg']}") from None
    signature = reader.small(archive.SIGNATURE) if contents.signed else None
    reader.digest()
    if trust is not None:
        require_signature(description, signature, trust)
    return contents


def _manifest(name: str, lora: PackedLora) -> Manifest:
    return Manifest(files={f"{name.rpartition('/')[2]}.safetensors": lora.record})


def _extract(blocks: Iterator[bytes], target: Path, record: Record) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as out, Digest() as digest:
        for block in blocks:
            digest.update(block)
            out.write(block)
        sha256 = digest.hexdigest()
    if sha256 != record.sha256:
        raise BrokenBundle(f"{target.name} is not what the bundle's description says")


def _check(staged: Path, contents: Contents) -> None:
    require_unpickled(staged / "loras", (f"{name}.safetensors" for name in contents.loras))
    for model, packed in contents.models.items():
        folder = staged / "models" / model
        (folder / ENTRY).write_text(packed.entry, encoding="utf-8")
        require_unpickled(folder, packed.manifest.files)
        require_harmless(folder)
        finish(folder, packed.manifest)


def _check_entries(
    staged: Path, contents: Contents, registry: Registry | None, models_dir: Path
) -> None:
    """Raise WeightsError unless there would be a registry with these models beside what is here."""
    models, files = (registry.models, registry.files) if registry else ({}, {})
    defined = {id for id, file in files.items() if file != models_dir / id / ENTRY}
    entries = {id: staged / "models" / id / ENTRY for id in contents.models}
    try:
        specs = {id: spec for id, file in entries.items() if (spec := read_spec(file, id))}
        new = specs.keys() - defined
        files = {**files, **{id: entries[id] for id in new}}
        check_references(files, {**models, **{id: specs[id] for id in new}})
    except RegistryError as error:
        raise WeightsError(f"an entry of the bundle: {error}") from None
