"""The books: every image that was answered, what else devices did, and how often it was refused.

An image is in the file before its answer is on the way, so kill -9 at any moment leaves no
answered image out; see `database` for what a power cut can take. Knows numbers and names; not
requests, and not what is asked of the books (`usage`).
"""

import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from threading import Lock

from server.callers.database import connect
from server.errors import ResultNotStored

FILE = "usage.db"
"""Its name in the data folder."""
DAY_S = 86_400

_SPENT = """
CREATE TABLE spent (
    at INTEGER NOT NULL,
    key TEXT NOT NULL,
    source TEXT NOT NULL,
    name TEXT NOT NULL,
    model TEXT NOT NULL,
    device_seconds REAL NOT NULL,
    PRIMARY KEY (at, key, source, name, model)
) WITHOUT ROWID;
CREATE VIEW entries AS
    SELECT at, key, source, name, model, NULL AS error, request, 1 AS images,
        width * height / 1e6 AS megapixels, steps, device_seconds, 0 AS refusals FROM images
    UNION ALL
    SELECT at, key, source, name, model, error, NULL, 0, 0.0, 0, 0.0, count FROM refusals
    UNION ALL
    SELECT at, key, source, name, model, NULL, NULL, 0, 0.0, 0, device_seconds, 0 FROM spent
"""
_SCHEMA = f"""
CREATE TABLE images (
    at REAL NOT NULL,
    request TEXT NOT NULL,
    key TEXT NOT NULL,
    source TEXT NOT NULL,
    name TEXT NOT NULL,
    model TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    steps INTEGER NOT NULL,
    device_seconds REAL NOT NULL,
    prompt TEXT
);
CREATE INDEX images_at ON images (at);
CREATE TABLE refusals (
    at INTEGER NOT NULL,
    key TEXT NOT NULL,
    source TEXT NOT NULL,
    name TEXT NOT NULL,
    model TEXT NOT NULL,
    error TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (at, key, source, name, model, error)
) WITHOUT ROWID;
{_SPENT}"""
_SINCE = {1: f"DROP VIEW entries;\n{_SPENT}"}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One image that is answered."""

    at: float
    """Unix time."""
    request: str
    """Its number, as `x-request-id` says it."""
    key: str
    """The name of the caller's key; empty where none is needed."""
    source: str
    """`image.generation`, `image.edit` or `image.variation`."""
    name: str
    """The model that was asked for."""
    model: str
    """The entry of weights.yaml that served it."""
    width: int
    height: int
    steps: int
    device_seconds: float
    prompt: str | None = None
    """None unless it may be kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A request that was answered with an error; what is not known is empty."""

    at: float
    key: str
    source: str
    name: str
    model: str
    error: str
    """The code, or the status where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a job took of a device, and no image of it was answered."""

    at: float
    key: str
    source: str
    name: str
    model: str
    device_seconds: float


def opened(file: Path) -> sqlite3.Connection:
    """A connection to the books, made or brought up to date. Raises ConfigError."""
    return connect(file, _SCHEMA, 2, since=_SINCE)


class Ledger:
    """The file. Every method blocks on it; any thread may call. Raises ConfigError at first."""

    def __init__(self, file: Path) -> None:
        self._database = opened(file)
        self._lock = Lock()

    def close(self) -> None:
        """Give the file back."""
        with self._lock:
            self._database.close()

    def add(self, entries: Sequence[Entry]) -> None:
        """Put images down, all or none: they are there when this returns. Else ResultNotStored."""
        rows = [astuple(entry) for entry in entries]
        marks = ", ".join("?" * len(rows[0]))
        try:
            with self._lock, self._database:
                self._database.execute("BEGIN IMMEDIATE")
                self._database.executemany(f"INSERT INTO images VALUES ({marks})", rows)
        except sqlite3.Error as error:
            raise ResultNotStored("The server could not put the image down.") from error

    def refuse(self, refusal: Refusal) -> None:
        """Count a refusal; one that cannot be counted is only logged."""
        self._count(
            "INSERT INTO refusals VALUES (?, ?, ?, ?, ?, ?, 1) "
            "ON CONFLICT DO UPDATE SET count = count + 1",
            refusal,
        )

    def spend(self, spent: Spent) -> None:
        """Add to the day's device time; what cannot be added is only logged."""
        self._count(
            "INSERT INTO spent VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET device_seconds = device_seconds + excluded.device_seconds",
            spent,
        )

    def _count(self, statement: str, what: Refusal | Spent) -> None:
        values = (what.at // DAY_S * DAY_S, *astuple(what)[1:])
        try:
            with self._lock:
                self._database.execute(statement, values)
        except sqlite3.Error:
            _log.exception("%s could not be counted", what)

    def sync(self) -> None:
        """Bring it to the disk: what is there now survives a power cut, too."""
        try:
            with self._lock:
                self._database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error:
            _log.exception("the ledger could not be brought to the disk")
