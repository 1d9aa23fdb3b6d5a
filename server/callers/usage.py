"""What the ledger adds up to, for the operator and for the usage API.

Reads beside a running server, with a connection of its own. Knows the ledger's columns; not who
may see them.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from server.callers.ledger import DAY_S, opened
from server.config import ConfigError

Column = Literal["day", "key", "model", "name", "error"]
COLUMNS: tuple[Column, ...] = get_args(Column)
"""What can be told apart."""
_EXPRESSIONS = {**dict(zip(COLUMNS, COLUMNS, strict=True)), "day": "date(at, 'unixepoch')"}

Field = Literal["api_key_id", "model", "size", "source"]
FIELDS: Mapping[Field, str] = {
    "api_key_id": "key",
    "model": "name",
    "size": "width || 'x' || height",
    "source": "source",
}
"""The columns of images, as the original's usage API calls them."""


@dataclass(frozen=True, slots=True)
class Total:
    """What came together under `of`, the values of the columns that were asked for."""

    of: tuple[str | None, ...]
    requests: int
    images: int
    megapixels: float
    steps: int
    device_seconds: float
    refusals: int


@dataclass(frozen=True, slots=True)
class Bucket:
    """The images of a span of time, and of the fields that are told apart."""

    start: int
    fields: Mapping[str, str]
    images: int
    requests: int


def totals(file: Path, by: Sequence[Column], since: float = 0.0) -> list[Total]:
    """What was used, from the day (UTC) of a Unix time on, told apart by some columns."""
    columns = [_EXPRESSIONS[name] for name in by]
    sums = [
        "COUNT(DISTINCT request)",
        *(f"SUM({it})" for it in ("images", "megapixels", "steps", "device_seconds", "refusals")),
    ]
    query = f"SELECT {', '.join([*columns, *sums])} FROM entries WHERE at >= ? {_grouped(columns)}"
    rows = _read(file, query, (since // DAY_S * DAY_S,))
    return [Total(row[: len(by)], *row[len(by) :]) for row in rows]


def image_buckets(
    file: Path,
    span: range,
    by: Iterable[Field] = (),
    only: Mapping[Field, Sequence[str]] | None = None,
) -> list[Bucket]:
    """The images answered in a span of Unix time, in buckets of its step, told apart by fields.

    `only` are the values of fields that count. Empty buckets are left out.
    """
    by, only = list(by), only or {}
    columns = [f"CAST(at AS INTEGER) / {span.step} * {span.step}", *(FIELDS[name] for name in by)]
    chosen = "".join(f" AND {FIELDS[name]} IN ({_marks(it)})" for name, it in only.items())
    query = (
        f"SELECT {', '.join(columns)}, COUNT(*), COUNT(DISTINCT request) "
        f"FROM images WHERE at >= ? AND at < ?{chosen} {_grouped(columns)}"
    )
    values = (span.start, span.stop, *(value for allowed in only.values() for value in allowed))
    return [
        Bucket(start, dict(zip(by, fields, strict=True)), images, requests)
        for start, *fields, images, requests in _read(file, query, values)
    ]


def _grouped(columns: Sequence[str]) -> str:
    numbers = ", ".join(str(number) for number in range(1, len(columns) + 1))
    return f"GROUP BY {numbers} ORDER BY {numbers}"


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _read(file: Path, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
    try:
        with closing(opened(file)) as database:
            return [tuple(row) for row in database.execute(query, values)]
    except sqlite3.Error as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from error
