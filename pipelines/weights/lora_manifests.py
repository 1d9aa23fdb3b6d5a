"""LoRAs with manifests: `NAME.manifest.json` beside `NAME.safetensors`, as models have one.

Knows the folder of LoRAs and how a file gets there; not what is in one, nor who wears it.
"""

import shutil
from collections.abc import Collection
from pathlib import Path

import yaml

from pipelines.lora_files import LoraFiles, is_name
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
from pipelines.weights.staging import bring, clear, staging


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


def changed_loras(loras: LoraFiles, begin: Begin = silently) -> dict[str, bool]:
    """For each LoRA that has a manifest, whether it is another file; reads all of them."""
    found = {}
    for name in loras.names:
        file = loras.folder / f"{name}.safetensors"
        if manifest := manifest_of(file):
            found[name] = manifest.files != {
                file.name: hash_file(file, begin(name, file.stat().st_size))
            }
    return found


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
    if not is_name(name):
        raise WeightsError(f"'{name}' cannot be a LoRA's name: letters, digits, '.', '_', '-'")
    if not file.is_file() or file.suffix.lower() != ".safetensors":
        raise WeightsError(f"{file} is no .safetensors file")
    require_safetensors(file)
    with staging(folder, name) as partial:
        clear(partial)
        try:
            bring(file.parent, [file.name], partial, link)
            staged = (partial / file.name).rename(partial / f"{name}.safetensors")
            record = hash_file(staged, begin(name, staged.stat().st_size))
            manifest = Manifest(files={staged.name: record})
            install_lora(staged, folder, manifest, bases)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return manifest


def install_lora(staged: Path, folder: Path, manifest: Manifest, bases: Collection[str]) -> None:
    """Move a LoRA that was just read to its place.

    Its manifest comes first: until its file is there too, what was there before is refused.
    """
    target = folder / staged.name
    write_text(_beside(target), manifest.model_dump_json(indent=1) + "\n")
    about = target.with_suffix(".yaml")
    if bases:
        write_text(about, yaml.safe_dump({"base": sorted(bases)}))
    else:
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
        raise WeightsError(f"there is no LoRA '{name}' in {loras.folder}")
    return file


def remove_lora(loras: LoraFiles, name: str) -> int:
    """Delete a LoRA and what says something of it; the bytes that were freed."""
    file = require_lora(loras, name)
    freed = file.stat().st_size
    file.unlink()
    for about in (_beside(file), file.with_suffix(".yaml")):
        about.unlink(missing_ok=True)
    return freed


def _beside(file: Path) -> Path:
    return file.with_name(f"{file.stem}.manifest.json")
