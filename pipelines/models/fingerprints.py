"""Names for weights on disk, that stay the same until a file is changed. Reads no weight."""

import hashlib
from collections.abc import Iterator
from pathlib import Path


def fingerprints(place: Path, config: Path | None = None) -> dict[str, str]:
    """For each component of a pipeline's folder, its name and a digest of its files' state; of a
    single file, and the folder for what is not in it, that of both."""
    folder = config if config and place.is_file() else place
    beside = _digest(place) if place.is_file() else ""
    parts = sorted(part for part in folder.iterdir() if part.is_dir())
    return {part.name: f"{part.name}@{_digest(part)}{beside}" for part in parts}


def _digest(folder: Path) -> str:
    state = "\n".join(_states(folder))
    return hashlib.blake2b(state.encode(), digest_size=8).hexdigest()


def _states(folder: Path) -> Iterator[str]:
    for file in [folder] if folder.is_file() else sorted(folder.rglob("*")):
        if file.is_file():
            found = file.stat()
            yield f"{file.relative_to(folder)} {found.st_size} {found.st_mtime_ns}"
