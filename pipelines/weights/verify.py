"""Whether a model's files are those of its manifest.

What was read once is remembered by size, time of change and inode, in a hidden file beside the
manifest: so that loading a model costs no second reading of it.
"""

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipelines.weights.manifest import (
    Advance,
    Manifest,
    WeightsError,
    files_of,
    hash_files,
    ignore,
    read_manifest,
    write_text,
)
from pipelines.weights.safety import require_harmless

_REMEMBERED = ".verified.json"


@dataclass(frozen=True, slots=True)
class Report:
    """How a folder differs from its manifest."""

    missing: list[str]
    changed: list[str]
    extra: list[str]

    @property
    def intact(self) -> bool:
        return not (self.missing or self.changed or self.extra)

    def __str__(self) -> str:
        kinds = {"missing": self.missing, "changed": self.changed, "not of it": self.extra}
        return "; ".join(f"{kind}: {', '.join(files)}" for kind, files in kinds.items() if files)


def verify(folder: Path, advance: Advance = ignore) -> Report:
    """Compare every file, reading all of them; WeightsError if there is no manifest."""
    manifest = read_manifest(folder)
    if manifest is None:
        raise WeightsError(f"{folder} has no manifest to verify it by")
    return _compare(folder, manifest, {}, advance)


def require_trusted(place: Path) -> None:
    """Raise WeightsError unless a model may be loaded: harmless, and what its manifest says.

    `place` is its folder, or its only file. Reads only what has changed since it was last read;
    a model without a manifest is not compared with anything.
    """
    if place.is_dir():
        require_harmless(place)
    folder = place if place.is_dir() else place.parent
    manifest = read_manifest(folder)
    if manifest is None:
        return
    report = _compare(folder, manifest, _recall(folder), ignore)
    if not report.intact:
        raise WeightsError(f"{folder} is not what its manifest says: {report}")


def remember(folder: Path, manifest: Manifest) -> None:
    """Note that the files were just read and are the manifest's, where that can be written."""
    known = {
        path: [*_identity(folder / path), record.sha256] for path, record in manifest.files.items()
    }
    with contextlib.suppress(OSError):  # a read-only disk is read again at each load
        write_text(folder / _REMEMBERED, json.dumps(known))


def state_of(place: Path) -> Literal["verified", "to be verified", "no manifest"]:
    """What is known of an installed model's files, told without reading them."""
    folder = place if place.is_dir() else place.parent
    manifest = read_manifest(folder)
    if manifest is None:
        return "no manifest"
    return "verified" if is_remembered(folder, manifest) else "to be verified"


def is_remembered(folder: Path, manifest: Manifest) -> bool:
    """Whether every file is as it was when it was last read, and right."""
    known = _recall(folder)
    return all(_is_known(folder, path, manifest, known) for path in manifest.files)


Known = dict[str, list[object]]


def _compare(folder: Path, manifest: Manifest, known: Known, advance: Advance) -> Report:
    there = files_of(folder)
    missing = sorted(manifest.files.keys() - set(there))
    extra = sorted(set(there) - manifest.files.keys())
    present = [path for path in manifest.files if path not in missing]
    resized = [p for p in present if (folder / p).stat().st_size != manifest.files[p].size]
    unread = [
        path
        for path in present
        if path not in resized and not _is_known(folder, path, manifest, known)
    ]
    before = {path: _identity(folder / path) for path in unread}
    found = hash_files(folder, unread, advance)
    changed = resized + [
        path
        for path in unread
        if found[path] != manifest.files[path] or before[path] != _identity(folder / path)
    ]
    report = Report(missing, sorted(changed), extra)
    if unread and report.intact:
        remember(folder, manifest)
    return report


def _is_known(folder: Path, path: str, manifest: Manifest, known: Known) -> bool:
    try:
        return known.get(path) == [*_identity(folder / path), manifest.files[path].sha256]
    except OSError:
        return False


def _identity(file: Path) -> tuple[int, int, int]:
    state = file.stat()
    return state.st_size, state.st_mtime_ns, state.st_ino


def _recall(folder: Path) -> Known:
    try:
        known = json.loads((folder / _REMEMBERED).read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
