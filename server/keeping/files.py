"""Pictures that clients send ahead, so that they can point to them by id; forgotten after an hour.

A file is there whole or not at all: its description is written last. Knows files, owners and ages;
not what is in a picture.
"""

import json
import os
import re
import secrets
import string
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

from server.errors import BodyTooLarge, FileNotStored, ResultNotStored
from server.keeping.store import LIFETIME_S, sweep, write_whole

MOST_BYTES = 2 << 30
"""Of one owner's files together."""

_ALPHABET = string.ascii_letters + string.digits
_ID = re.compile(r"file-[A-Za-z0-9]{24}")


@dataclass(frozen=True, slots=True)
class Stored:
    """What is known of one file."""

    id: str
    owner: str
    filename: str
    media_type: str
    bytes: int
    created_at: int

    @property
    def expires_at(self) -> int:
        """In Unix time."""
        return self.created_at + LIFETIME_S


class Files:
    """A folder of files. Every method blocks on the disk: call them off the event loop."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, content: IO[bytes], owner: str, filename: str, media_type: str) -> Stored:
        """Keep a file so that it survives a crash."""
        id = f"file-{''.join(secrets.choice(_ALPHABET) for _ in range(24))}"
        size = content.seek(0, os.SEEK_END)
        content.seek(0)
        if sum(it.bytes for it in self.list(owner)) + size > MOST_BYTES:
            raise BodyTooLarge("Your files take up too much room. Delete some, or wait an hour.")
        stored = Stored(id, owner, filename, media_type, size, int(time.time()))
        try:
            write_whole(self._folder / id, content)
            description = BytesIO(json.dumps(asdict(stored)).encode())
            write_whole(self._folder / f"{id}.json", description)
        except OSError as error:
            raise ResultNotStored("The server could not store the file.") from error
        return stored

    def find(self, id: str, owner: str, now: float | None = None) -> Stored:
        """What is known of a file of this owner; raises FileNotStored."""
        stored = self._describe(id) if _ID.fullmatch(id) else None
        late = stored is not None and stored.expires_at < (time.time() if now is None else now)
        if stored is None or stored.owner != owner or late:
            raise FileNotStored(f"No such File object: {id[:100]}", "id")
        return stored

    def path(self, stored: Stored) -> Path:
        """Where its content lies."""
        return self._folder / stored.id

    def list(self, owner: str) -> list[Stored]:
        """The files of an owner, the newest first."""
        now = time.time()
        mine = [it for it in self._all() if it.owner == owner and it.expires_at >= now]
        return sorted(mine, key=lambda it: (it.created_at, it.id), reverse=True)

    def delete(self, id: str, owner: str) -> None:
        """Forget a file; raises FileNotStored."""
        stored = self.find(id, owner)
        (self._folder / f"{id}.json").unlink(missing_ok=True)
        self.path(stored).unlink(missing_ok=True)

    def sweep(self, now: float | None = None) -> int:
        """Remove what has expired; how many files that were."""
        return sweep(self._folder, time.time() if now is None else now)

    def _all(self) -> Iterator[Stored]:
        for path in self._folder.glob("file-*.json"):
            stored = self._describe(path.stem)
            if stored is not None:
                yield stored

    def _describe(self, id: str) -> Stored | None:
        with suppress(OSError, ValueError, TypeError):
            return Stored(**json.loads((self._folder / f"{id}.json").read_text(encoding="utf-8")))
        return None
