"""Results on disk: a file is there whole or not at all, and gone when its time is over.

Knows files and their age; not who may read them (`links`).
"""

import os
import re
import secrets
import string
import time
from contextlib import suppress
from pathlib import Path

from server.errors import ResultNotStored

LIFETIME_S = 3600

_ALPHABET = string.ascii_letters + string.digits
_NAME = re.compile(r"img-[A-Za-z0-9]{24}\.(png|jpg|webp)")
_GRACE_S = 60  # a download that began in the last second of its link may end


class Store:
    """A folder of results. Every method blocks on the disk: call them off the event loop."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for half in folder.glob("*.partial"):  # left behind by a process that was killed
            half.unlink(missing_ok=True)

    def save(self, data: bytes, suffix: str) -> str:
        """Write a result so that it survives a crash; its new name."""
        name = f"img-{''.join(secrets.choice(_ALPHABET) for _ in range(24))}.{suffix}"
        partial = self._folder / f"{name}.partial"
        try:
            with partial.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.rename(self._folder / name)
            _sync_folder(self._folder)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise ResultNotStored("The server could not store the image.") from error
        return name

    def find(self, name: str) -> Path | None:
        """The file of a result, if there is one."""
        path = self._folder / name
        return path if _NAME.fullmatch(name) and path.is_file() else None

    def sweep(self, now: float | None = None) -> int:
        """Remove what has expired; how many files that were."""
        oldest = (time.time() if now is None else now) - LIFETIME_S - _GRACE_S
        removed = 0
        for path in self._folder.iterdir():
            with suppress(FileNotFoundError):  # a result gets its final name meanwhile
                if path.stat().st_mtime < oldest:
                    path.unlink()
                    removed += 1
        return removed


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
