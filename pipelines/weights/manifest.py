"""What an installed model consists of: each file's size and sha256, and where they came from.

The manifest lies beside the files that it lists. Knows nothing of diffusers or of the hub.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

from pipelines.definitions import ENTRY, Strict

MANIFEST = "manifest.json"
OURS = frozenset({MANIFEST, ENTRY})
"""Files in a model's folder that are about it, not of it."""

Advance = Callable[[int], None]
"""Called with each number of bytes that is done, from several threads."""

Begin = Callable[[str, int], Advance]
"""Called with a label and a number of bytes; what it returns is told of each part of them."""

_READERS = min(8, 2 * (os.cpu_count() or 1))
_BLOCK = 1 << 22


class WeightsError(ValueError):
    """Weights cannot be had, kept or trusted; the message is for the operator."""


def ignore(_: int) -> None:
    """For callers that show no progress."""


def silently(label: str, size: int) -> Advance:
    """The same, for what begins several things."""
    return ignore


def _plain(path: str) -> str:
    parts = path.split("/")
    if not re.fullmatch(r"[^\x00-\x1f\x7f\\:]{1,255}", path) or any(
        part in ("", ".", "..") or part.startswith(".") or part.endswith((" ", "."))
        for part in parts
    ):
        raise ValueError("is not a plain path inside the model's folder")
    if path in OURS:
        raise ValueError("is not a name for weights")
    return path


def require_plain(path: str) -> None:
    """Raise WeightsError unless a path can only lead to a file inside a model's folder."""
    try:
        _plain(path)
    except ValueError as error:
        raise WeightsError(f"{path!r} {error}") from None


PlainPath = Annotated[str, AfterValidator(_plain)]
"""Relative, with `/`, without hidden parts or anything that leads out of a folder."""


class Record(Strict):
    """One file: its size in bytes, and its sha256 in hexadecimal digits."""

    size: int = Field(ge=0, strict=True)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(Strict):
    """All files of a model."""

    files: dict[PlainPath, Record] = Field(min_length=1)
    repository: str | None = None
    """`owner/name` on the hub; None for what was imported."""
    revision: str | None = None
    """The commit that was pulled."""

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(record.size for record in self.files.values())


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a model's folder, or None if it has none; WeightsError if it is broken."""
    return read_manifest_file(folder / MANIFEST)


def read_manifest_file(file: Path) -> Manifest | None:
    """The same of a file of any name."""
    try:
        return Manifest.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise WeightsError(f"{file}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise WeightsError(f"{file}: is not a manifest: {error.errors()[0]['msg']}") from None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Puts the manifest beside the files that it lists."""
    write_text(folder / MANIFEST, manifest.model_dump_json(indent=1) + "\n")


def write_text(file: Path, text: str) -> None:
    """Write a small file as a whole or not at all."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with draft.open("w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def files_of(folder: Path) -> list[str]:
    """Every file in a model's folder but hidden ones and ours, as relative paths with `/`."""
    found = (PurePosixPath(file.relative_to(folder)) for file in folder.rglob("*")
             if not file.is_dir())  # fmt: skip
    shown = [path for path in found if not any(part.startswith(".") for part in path.parts)]
    return sorted(str(path) for path in shown if str(path) not in OURS)


def make_manifest(folder: Path, advance: Advance = ignore) -> Manifest:
    """The manifest of what lies in a folder now; reads all of it, several files at once."""
    try:
        return Manifest(files=hash_files(folder, files_of(folder), advance))
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"] if part != "[key]")
        raise WeightsError(f"{folder}: {where}: {problem['msg']}") from None


def hash_files(folder: Path, paths: Iterable[str], advance: Advance = ignore) -> dict[str, Record]:
    """What the files are now, the largest ones begun first; OSError if one cannot be read."""
    largest_first = sorted(paths, key=lambda path: -(folder / path).stat().st_size)
    with ThreadPoolExecutor(_READERS, thread_name_prefix="hash") as pool:
        records = pool.map(lambda path: hash_file(folder / path, advance), largest_first)
        found = dict(zip(largest_first, records, strict=True))
    return dict(sorted(found.items()))


def hash_file(file: Path, advance: Advance = ignore) -> Record:
    """What one file is now."""
    digest, size = hashlib.sha256(), 0
    block = memoryview(bytearray(_BLOCK))
    with file.open("rb", buffering=0) as source:
        while count := source.readinto(block):
            digest.update(block[:count])
            size += count
            advance(count)
    return Record(size=size, sha256=digest.hexdigest())
