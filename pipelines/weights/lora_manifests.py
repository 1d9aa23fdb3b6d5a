"""LoRAs with manifests: `NAME.manifest.json` beside `NAME.safetensors`, as models have one.

Knows the folder of LoRAs and how a file gets there; not what is in one, nor who wears it.
"""

import shutil
from collections.abc import Collection
from pathlib import Path

import yaml

from pipelines.lora_files import LoraFiles, is_name, name_problem
from pipelines.weights.manifest import (
    Advance,
    Begin,
    Manifest,
    WeightsError,
    hash_file,
    ignore,
    read_manifest_file,
    silently,
    write_text,
)
from pipelines.weights.safety import require_safetensors
from pipelines.weights.staging import bring, clear, size_of, staging
from pipelines.weights.verify import Report

_MANIFEST = ".manifest.json"


def manifest_of(file: Path) -> Manifest | None:
    """The manifest of a LoRA's file, or None if it has none; WeightsError if it is broken."""
    return read_manifest_file(_beside(file))


def require_trusted_lora(file: Path, advance: Advance = ignore) -> bool:
    """Read a LoRA's file whole; raise WeightsError unless it is what its manifest says.

    Whether it has a manifest: without one there is nothing to compare it with.
    """
    manifest, found = manifest_of(file), hash_file(file, advance)
    if manifest is not None and manifest.files != {file.name: found}:
        raise WeightsError(f"{file} is not what its manifest says")
    return manifest is not None


def known_loras(loras: LoraFiles) -> list[str]:
    """Every LoRA that is there, or of which there is a manifest, by name."""
    found = (it.relative_to(loras.folder) for it in loras.folder.rglob(f"*{_MANIFEST}"))
    named = (it.as_posix().removesuffix(_MANIFEST) for it in found)
    return sorted({*loras.names, *filter(is_name, named)})


def verify_lora(loras: LoraFiles, name: str, begin: Begin = silently) -> Report | None:
    """How a LoRA's file differs from its manifest, reading it; None if it has no manifest."""
    file = loras.folder / f"{name}.safetensors"
    manifest = manifest_of(file)
    if manifest is None:
        return None
    if not file.is_file():
        return Report(missing=[file.name], changed=[], extra=[])
    found = hash_file(file, begin(name, file.stat().st_size))
    same = manifest.files == {file.name: found}
    return Report(missing=[], changed=[] if same else [file.name], extra=[])


def take_in_lora(
    file: Path,
    folder: Path,
    name: str,
    begin: Begin = silently,
    *,
    bases: Collection[str] = (),
    link: bool = False,
) -> Manifest:
    """Copy, or hard-link, a LoRA into their folder; its manifest. Raises WeightsError.

    `bases`: the models that it was made for, where that shall be held.
    """
    require_lora_name(name)
    if not file.is_file() or file.suffix.lower() != ".safetensors":
        raise WeightsError(f"{file} is no .safetensors file")
    require_safetensors(file)
    target = folder / f"{name}.safetensors"
    with staging(folder, staging_name(name)) as partial:
        clear(partial)
        try:
            bring(file.parent, [file.name], partial, link)
            staged = (partial / file.name).rename(partial / target.name)
            record = hash_file(staged, begin(name, staged.stat().st_size))
            manifest = Manifest(files={staged.name: record})
            install_lora(staged, target, manifest, bases)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return manifest


def staging_name(name: str) -> str:
    """What a LoRA is called while it is not complete: no name has a colon."""
    return name.replace("/", ":")


def install_lora(staged: Path, target: Path, manifest: Manifest, bases: Collection[str]) -> None:
    """Move a LoRA that was just read to its place, where it may be already.

    Its manifest comes first: until its file is there too, what was there before is refused. What
    is said of its bases holds where none are given and it is the same LoRA as before.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    same = target.is_file() and manifest.files == {target.name: hash_file(target)}
    write_text(_beside(target), manifest.model_dump_json(indent=1) + "\n")
    about = target.with_suffix(".yaml")
    if bases:
        write_text(about, yaml.safe_dump({"base": sorted(bases)}))
    elif not same:
        about.unlink(missing_ok=True)
    staged.replace(target)


def packed_lora(loras: LoraFiles, name: str, begin: Begin = silently) -> Manifest:
    """What goes into a bundle of a LoRA: its manifest, or one that is made now."""
    file = require_lora(loras, name)
    require_safetensors(file)
    known = manifest_of(file)
    if known is not None:
        return known
    size = file.stat().st_size
    return Manifest(files={file.name: hash_file(file, begin(f"{name}: hashing", size))})


def require_lora(loras: LoraFiles, name: str) -> Path:
    """The file of a LoRA; raises WeightsError if there is none of this name."""
    file = loras.path(name)
    if file is None:
        raise _unknown(loras, name)
    return file


def require_lora_name(name: str) -> None:
    """Raise WeightsError unless a LoRA may be called so."""
    if not is_name(name):
        raise WeightsError(f"{name!r} cannot be a LoRA's name: {name_problem(name)}")


def require_known_lora(loras: LoraFiles, name: str) -> None:
    """Raise WeightsError unless there is a LoRA of this name, or a manifest of one."""
    if name not in known_loras(loras):
        raise _unknown(loras, name)


def require_removable_lora(loras: LoraFiles, name: str) -> None:
    """Raise WeightsError unless there is a LoRA of this name, or something was left of one."""
    left = (*_all_of(loras, name), loras.folder / f".{staging_name(name)}.partial")
    if not (is_name(name) and any(it.exists() for it in left)):
        raise _unknown(loras, name)


def remove_lora(loras: LoraFiles, name: str) -> int:
    """Delete a LoRA, what says something of it, and what an unfinished one left; the bytes that
    were freed."""
    require_removable_lora(loras, name)
    with staging(loras.folder, staging_name(name)) as partial:
        freed = sum(size_of(it) for it in (*_all_of(loras, name), partial))
        for each in _all_of(loras, name):
            each.unlink(missing_ok=True)
        shutil.rmtree(partial)
    return freed


def _all_of(loras: LoraFiles, name: str) -> list[Path]:
    return [loras.folder / f"{name}{suffix}" for suffix in (".safetensors", _MANIFEST, ".yaml")]


def _unknown(loras: LoraFiles, name: str) -> WeightsError:
    return WeightsError(f"there is no LoRA '{name}' in {loras.folder}")


def _beside(file: Path) -> Path:
    return file.with_name(f"{file.stem}{_MANIFEST}")
