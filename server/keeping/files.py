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
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Literal

from server.errors import BodyTooLarge, FileNotStored, InvalidValue, ResultNotStored
from server.keeping.store import LIFETIME_S, sweep, write_whole

MAX_DELETED = 10_000
"""Deleted files that can still be the cursor of a list."""

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
        # Descriptions never change. The last deleted ones stay, so that a client that deletes
        # what it lists can go on to the next page.
        self._descriptions: dict[str, Stored] = {}
        self._deleted: OrderedDict[str, Stored] = OrderedDict()
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

    def list(
        self, owner: str, after: str | None = None, order: Literal["asc", "desc"] = "desc"
    ) -> list[Stored]:
        """The files of an owner by age, the newest first unless `order` is `asc`.

        `after`: only those that follow this file of the owner, which may be deleted since. Raises
        InvalidValue if there was none.
        """
        now = time.time()
        mine = [it for it in self._all() if it.owner == owner and it.expires_at >= now]
        if after is not None:
            edge = _age(self._cursor(after, owner))
            mine = [it for it in mine if (_age(it) > edge if order == "asc" else _age(it) < edge)]
        return sorted(mine, key=_age, reverse=order == "desc")

    def delete(self, id: str, owner: str) -> None:
        """Forget a file; raises FileNotStored."""
        stored = self.find(id, owner)
        (self._folder / f"{id}.json").unlink(missing_ok=True)
        self.path(stored).unlink(missing_ok=True)
        self._deleted[id] = stored
        self._descriptions.pop(id, None)
        if len(self._deleted) > MAX_DELETED:
            self._deleted.popitem(last=False)

    def sweep(self, now: float | None = None) -> int:
        """Remove what has expired; how many files that were."""
        now = time.time() if now is None else now
        for id, stored in list(self._descriptions.items()):
            if stored.expires_at + LIFETIME_S < now:
                self._descriptions.pop(id, None)
        return sweep(self._folder, now)

    def _all(self) -> Iterator[Stored]:
        ids: Sequence[str] = ()
        with suppress(OSError), os.scandir(self._folder) as entries:
            ids = [it.name.removesuffix(".json") for it in entries if it.name.endswith(".json")]
        for id in ids:
            stored = self._descriptions.get(id) or self._describe(id)
            if stored is not None:
                yield stored

    def _cursor(self, id: str, owner: str) -> Stored:
        known = self._descriptions.get(id) or self._deleted.get(id)
        if known is None and _ID.fullmatch(id):
            known = self._describe(id)
        if known is None or known.owner != owner:
            raise InvalidValue(f"Invalid 'after': no such File object: {id[:100]}", "after")
        return known

    def _describe(self, id: str) -> Stored | None:
        with suppress(OSError, ValueError, TypeError):
            text = (self._folder / f"{id}.json").read_text(encoding="utf-8")
            self._descriptions[id] = stored = Stored(**json.loads(text))
            return stored
        return None


def _age(stored: Stored) -> tuple[int, str]:
    return stored.created_at, stored.id
