"""The keys that the operator hands out: kept as hashes, and only shown when they are made.

Any process may add and revoke; the ones that watch the file see it at their next look. Knows the
file; not the header that a key comes in.
"""

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from server.callers.callers import Caller
from server.callers.database import connect
from server.config import ConfigError

FILE = "keys.db"
"""Its name in the data folder."""

_VERSION = 2
_SCHEMA = """
CREATE TABLE keys (
    name TEXT NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    weight REAL NOT NULL,
    priority TEXT NOT NULL,
    images_per_minute INTEGER,
    in_queue INTEGER,
    admin INTEGER NOT NULL,
    created REAL NOT NULL,
    expires REAL,
    revoked REAL,
    policy TEXT
);
CREATE UNIQUE INDEX keys_in_force ON keys (name) WHERE revoked IS NULL
"""
_SINCE = {1: "ALTER TABLE keys ADD COLUMN policy TEXT"}


@dataclass(frozen=True, slots=True)
class Key:
    """What is kept of a key. Times are Unix seconds."""

    caller: Caller
    hash: bytes
    created: float
    expires: float | None
    revoked: float | None

    def expired(self, now: float) -> bool:
        """Whether its time is over."""
        return self.expires is not None and self.expires <= now


class KeyStore:
    """A file of keys. Raises ConfigError where it cannot be used."""

    def __init__(self, file: Path) -> None:
        self._database = connect(file, _SCHEMA, _VERSION, "FULL", _SINCE)
        self._file = file
        self._seen: int | None = None

    def close(self) -> None:
        """Give the file back."""
        self._database.close()

    def add(self, caller: Caller, expires: float | None, now: float) -> str:
        """Make a key, from now on until it expires; raises ConfigError where the name has one."""
        if not caller.name:
            raise ConfigError("a key needs a name")
        key = f"sk-{secrets.token_urlsafe(32)}"
        values = (
            *(caller.name, hash_of(key), caller.weight, caller.priority),
            *(caller.images_per_minute, caller.in_queue, caller.admin, now, expires, None),
            caller.policy,
        )
        with self._usable():
            try:
                self._database.execute(f"INSERT INTO keys VALUES ({_marks(values)})", values)
            except sqlite3.IntegrityError:
                raise ConfigError(
                    f"there is a key for {caller.name} already: revoke it, or take another name"
                ) from None
        return key

    def revoke(self, name: str, now: float) -> None:
        """End the key of this name; raises ConfigError where there is none."""
        end = "UPDATE keys SET revoked = ? WHERE name = ? AND revoked IS NULL"
        with self._usable():
            if not self._database.execute(end, (now, name)).rowcount:
                raise ConfigError(f"there is no key for {name}")

    def all(self) -> list[Key]:
        """Every key that there ever was, in the order in which they were made."""
        with self._usable():
            rows = self._database.execute("SELECT * FROM keys ORDER BY rowid").fetchall()
        return [_key(row) for row in rows]

    def changed(self) -> bool:
        """Whether it is another one than at the last look. Cheap: no disk, some microseconds."""
        with self._usable():
            (version,) = self._database.execute("PRAGMA data_version").fetchone()
        before, self._seen = self._seen, version
        return bool(before != version)

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise ConfigError(f"{self._file}: cannot be used: {error}") from error


def hash_of(key: str) -> bytes:
    """What is kept of a key in its place. Keys are random: a plain hash does not lead back."""
    return sha256(key.encode("utf-8", "surrogateescape")).digest()


def _marks(values: tuple[object, ...]) -> str:
    return ", ".join("?" * len(values))


def _key(row: sqlite3.Row) -> Key:
    caller = Caller(
        row["name"],
        row["weight"],
        row["priority"],
        row["images_per_minute"],
        row["in_queue"],
        bool(row["admin"]),
        row["policy"],
    )
    return Key(caller, row["hash"], row["created"], row["expires"], row["revoked"])
