"""Nothing that runs when it is loaded: no pickles, no code beside weights, whoever refers to it."""

import json
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

from pipelines.weights.layout import INDEX, PICKLED, components, needed, needed_of_one
from pipelines.weights.manifest import WeightsError, files_of, require_plain

_CODE = ("auto_map", "custom_pipelines", "trust_remote_code")
_LIBRARIES = ("diffusers", "transformers")
_HEADER_LIMIT = 100_000_000
"""Bytes; what the safetensors library itself accepts."""


def read_index(folder: Path) -> dict[str, Any]:
    """The folder's model_index.json; WeightsError if it is no diffusers pipeline."""
    if not (folder / INDEX).is_file():
        raise WeightsError(f"{folder} is not a diffusers folder: it has no {INDEX}")
    index = _read_json(folder / INDEX)
    if not isinstance(index.get("_class_name"), str):
        raise WeightsError(f"{folder / INDEX} names no pipeline class of diffusers, but code")
    return index


def pipeline_files(folder: Path) -> list[str]:
    """The files that a diffusers folder needs, of all that lie in it; WeightsError if loading
    them would run, or read, what it must not."""
    index = read_index(folder)
    try:
        paths = needed(files_of(folder), index)
    except WeightsError as error:
        raise WeightsError(f"{folder}: {error}") from None
    for path in paths:
        require_plain(path)
    require_harmless(folder)
    return paths


def model_files(folder: Path) -> list[str]:
    """The same of a folder with a single model of transformers."""
    try:
        paths = needed_of_one(files_of(folder))
    except WeightsError as error:
        raise WeightsError(f"{folder}: {error}") from None
    if not any(path.endswith(".safetensors") for path in paths):
        raise WeightsError(f"{folder} has no safetensors of transformers at its root")
    for path in paths:
        require_plain(path)
    require_harmless(folder)
    return paths


def require_harmless(folder: Path) -> None:
    """Raise WeightsError if loading what lies in a folder would run, or read, what it must not."""
    if (folder / INDEX).is_file():
        _check_components(folder, read_index(folder))
    for file in _files(folder, "config.json", INDEX):
        _check_config(file, "/".join(file.relative_to(folder).parts))
    for file in _files(folder, ".safetensors.index*.json"):
        _check_parts(file, "/".join(file.relative_to(folder).parts))


def _check_components(folder: Path, index: dict[str, Any]) -> None:
    for component, (library, _) in components(index).items():
        if not (folder / component).is_dir():
            raise WeightsError(f"{folder / INDEX} names {component}, which is not there")
        if (folder / component / f"{library}.py").exists():
            raise WeightsError(f"{component} is defined by code beside the weights: {library}.py")
        if library not in _LIBRARIES and not _is_of_diffusers(library):
            raise WeightsError(f"{component} is defined by code that is not there: {library}")


def _is_of_diffusers(package: str) -> bool:
    """Whether a pipeline's own components may come from there; diffusers is not imported."""
    found = find_spec("diffusers")
    places = (found and found.submodule_search_locations) or ()
    return package.isidentifier() and any(
        (Path(place) / "pipelines" / package / "__init__.py").is_file() for place in places
    )


def _files(folder: Path, *endings: str) -> Iterator[Path]:
    for ending in endings:
        yield from folder.glob(f"*{ending}")
        yield from folder.glob(f"*/*{ending}")


def require_unpickled(folder: Path, paths: Iterable[str]) -> None:
    """Raise WeightsError unless each file is what its name says, and none is a pickle."""
    for path in paths:
        suffix = PurePosixPath(path).suffix.lower()
        if suffix in PICKLED:
            raise WeightsError(f"{path} is pickled, and runs code when it is read")
        if suffix == ".safetensors":
            require_safetensors(folder / path)


def require_safetensors(file: Path) -> None:
    """Raise WeightsError unless the file begins and ends as a safetensors file does."""
    size = file.stat().st_size
    try:
        with file.open("rb") as source:
            length = int.from_bytes(source.read(8), "little")
            if length > min(_HEADER_LIMIT, size - 8):
                raise ValueError
            header = json.loads(source.read(length))
        header.pop("__metadata__", None)
        end = max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        raise WeightsError(f"{file} is not a safetensors file, whatever its name says") from None
    if 8 + length + end != size:
        raise WeightsError(f"{file} is cut short, or has something behind its tensors")


def require_gguf(file: Path) -> None:
    """Raise WeightsError unless the file begins as a GGUF file does."""
    with file.open("rb") as source:
        if source.read(4) != b"GGUF":
            raise WeightsError(f"{file} is not a GGUF file, whatever its name says")


def _check_config(file: Path, path: str) -> None:
    content = _read_json(file)
    for key in _CODE:
        if content.get(key):
            raise WeightsError(f"{path} asks for code that is not darkroom's: {key}")


def _check_parts(file: Path, path: str) -> None:
    parts = _read_json(file).get("weight_map")
    for part in set(parts.values()) if isinstance(parts, dict) else {None}:
        if not isinstance(part, str) or "/" in part or not part.endswith(".safetensors"):
            raise WeightsError(f"{path} refers to {part}: only safetensors beside it are taken")
        if not (file.parent / part).is_file():
            raise WeightsError(f"{path} refers to {part}, which is not there")


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise WeightsError(f"{file} cannot be read as JSON: {error}") from error
    return content if isinstance(content, dict) else {}
