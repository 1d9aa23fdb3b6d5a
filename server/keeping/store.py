"""Results on disk: a file is there whole or not at all, and gone when its time is over.

Knows files and their age; not who may read them (`links`).
"""

import os
import re
import secrets
import shutil
import string
import time
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import IO

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

    def save(self, data: bytes, suffix: str) -> str:
        """Write a result so that it survives a crash; its new name."""
        name = f"img-{''.join(secrets.choice(_ALPHABET) for _ in range(24))}.{suffix}"
        try:
            write_whole(self._folder / name, BytesIO(data))
        except OSError as error:
            raise ResultNotStored("The server could not store the image.") from error
        return name

    def find(self, name: str) -> Path | None:
        """The file of a result, if there is one."""
        path = self._folder / name
        return path if _NAME.fullmatch(name) and path.is_file() else None

    def sweep(self, now: float | None = None) -> int:
        """Remove what has expired; how many files that were."""
        return sweep(self._folder, time.time() if now is None else now)


def write_whole(path: Path, content: IO[bytes]) -> None:
    """Write a file so that it is there whole or not at all, and survives a crash."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("xb") as file:
            shutil.copyfileobj(content, file)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
        _sync_folder(path.parent)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def sweep(folder: Path, now: float) -> int:
    """Remove the files of a folder that have expired; how many they were.

    So go the halves that a process left behind which was killed.
    """
    oldest = now - LIFETIME_S - _GRACE_S
    removed = 0
    for path in folder.iterdir():
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
