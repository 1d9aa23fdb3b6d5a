"""One long stream in a file, or in several that a file system or a medium can hold.

FILE, or FILE.000, FILE.001, …: what `split -d -a 3` writes and `cat` joins.
"""

from pathlib import Path
from typing import BinaryIO

from pipelines.weights.manifest import WeightsError


class PartsWriter:
    """Begins another file whenever one is full; all get their names at the end."""

    def __init__(self, file: Path, part_size: int | None) -> None:
        self._file, self._part_size = file, part_size
        self.folder = file.resolve().parent
        self._drafts: list[Path] = []
        self._left = 0
        self._out: BinaryIO | None = None
        taken = [path for path in (file, _part(file, 0)) if path.exists()]
        if taken:
            raise WeightsError(f"{taken[0]} is there already")

    def write(self, data: bytes) -> None:
        """Add to the stream; OSError if the disk is full."""
        view = memoryview(data)
        while view:
            if self._out is None or (self._part_size and not self._left):
                self._begin()
            assert self._out is not None
            count = min(len(view), self._left) if self._part_size else len(view)
            self._out.write(view[:count])
            self._left -= count
            view = view[count:]

    def finish(self) -> list[Path]:
        """Give the files their names, and say which they are."""
        self._close()
        for draft, path in zip(self._drafts, paths := self._paths(), strict=True):
            draft.replace(path)
        return paths

    def discard(self) -> None:
        """Leave nothing behind."""
        self._close()
        for draft in self._drafts:
            draft.unlink(missing_ok=True)

    def _begin(self) -> None:
        self._close()
        draft = self._file.with_name(f".{self._file.name}.partial.{len(self._drafts):03d}")
        self._drafts.append(draft)
        self._out = draft.open("wb")
        self._left = self._part_size or 0

    def _close(self) -> None:
        if self._out is not None:
            self._out.close()

    def _paths(self) -> list[Path]:
        if self._part_size is None:
            return [self._file]
        return [_part(self._file, number) for number in range(len(self._drafts))]


class PartsReader:
    """The stream of a file or of its parts."""

    def __init__(self, file: Path) -> None:
        self._paths = _parts_of(file)
        self._in: BinaryIO | None = None
        self.size = sum(path.stat().st_size for path in self._paths)
        """Bytes of all parts together."""

    def read(self, count: int) -> bytes:
        """Up to so many bytes; none at the end."""
        while True:
            if self._in is None:
                if not self._paths:
                    return b""
                self._in = self._paths.pop(0).open("rb", buffering=0)
            if data := self._in.read(count):
                return data
            self.close()

    def close(self) -> None:
        """Close what is open; a reader that was read to its end has nothing open."""
        if self._in is not None:
            self._in.close()
            self._in = None


def _parts_of(file: Path) -> list[Path]:
    if file.suffix == ".000":
        file = file.with_suffix("")
    if file.is_file():
        return [file]
    parts = sorted(file.parent.glob(f"{file.name}.[0-9][0-9][0-9]"))
    if not parts:
        raise WeightsError(f"there is no {file}, nor a {_part(file, 0).name}")
    for number, part in enumerate(parts):
        if part != _part(file, number):
            raise WeightsError(f"{_part(file, number)} is missing")
    return parts


def _part(file: Path, number: int) -> Path:
    return file.with_name(f"{file.name}.{number:03d}")
