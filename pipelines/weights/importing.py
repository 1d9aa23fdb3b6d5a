"""A model that is already on this machine, taken in: a diffusers folder, or a single file."""

import shutil
from pathlib import Path

import yaml

from pipelines.definitions import ENTRY
from pipelines.weights.layout import PICKLED
from pipelines.weights.manifest import (
    Begin,
    Manifest,
    WeightsError,
    files_of,
    make_manifest,
    require_plain,
    silently,
    write_text,
)
from pipelines.weights.safety import (
    model_files,
    pipeline_files,
    require_gguf,
    require_harmless,
    require_safetensors,
    require_unpickled,
)
from pipelines.weights.staging import bring, clear, finish, install, staging


def take_in(
    place: Path,
    models_dir: Path,
    name: str,
    begin: Begin = silently,
    *,
    like: str | None = None,
    link: bool = False,
    is_pipeline: bool = True,
) -> Manifest:
    """Copy, or hard-link, a model to its folder; its manifest. Raises WeightsError.

    `like`: the model whose entry it takes over; it is then served without one in weights.yaml. What
    is no pipeline is a single model of transformers. A folder that lies in its place already is
    checked, and gets its manifest.
    """
    target = models_dir / name
    if not place.exists():
        raise WeightsError(f"there is no {place}")
    if place.resolve() == target.resolve():
        return _adopt(target, begin)
    files = pipeline_files if is_pipeline else model_files
    source, paths = (place, files(place)) if place.is_dir() else (place.parent, [place.name])
    if place.is_file():
        _require_weights(place)
    with staging(models_dir, name) as partial:
        clear(partial)
        try:
            bring(source, paths, partial, link)
            manifest = _checked(partial, place.is_dir(), begin)
            if like is not None:
                write_entry(partial, name, like, "." if place.is_dir() else place.name)
            finish(partial, manifest)
            install(partial, target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        return manifest


def write_entry(folder: Path, name: str, like: str, source: str) -> None:
    """Let a model be defined by what lies in its own folder."""
    entry = {"models": {name: {"like": like, "source": source}}}
    write_text(folder / ENTRY, yaml.safe_dump(entry, sort_keys=False))


def _adopt(folder: Path, begin: Begin) -> Manifest:
    manifest = _checked(folder, True, begin)
    finish(folder, manifest)
    return manifest


def _checked(folder: Path, is_pipeline: bool, begin: Begin) -> Manifest:
    if is_pipeline:
        require_harmless(folder)
    paths = files_of(folder)
    require_unpickled(folder, paths)
    size = sum((folder / path).stat().st_size for path in paths)
    return make_manifest(folder, begin(folder.name, size))


def _require_weights(file: Path) -> None:
    suffix = file.suffix.lower()
    if suffix in PICKLED:
        raise WeightsError(f"{file} is pickled, and runs code when it is read")
    require_plain(file.name)
    if suffix == ".gguf":
        require_gguf(file)
    elif suffix == ".safetensors":
        require_safetensors(file)
    else:
        raise WeightsError(f"{file} is neither a diffusers folder, nor .safetensors, nor .gguf")
