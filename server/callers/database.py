"""A SQLite file as this server keeps one: shared by processes, and whole after any end of them.

A commit is in the write-ahead log before it returns, which is in the kernel's hands: kill -9 of the
process, at any moment, takes nothing back. A power cut can take back what was not synced. Knows
files and versions of schemas; not what is in them.
"""

import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from server.config import ConfigError

_BUSY_S = 10.0
"""How long a writer waits for another one."""


def connect(
    file: Path,
    schema: str,
    version: int,
    synced: Literal["NORMAL", "FULL"] = "NORMAL",
    since: Mapping[int, str] = MappingProxyType({}),
) -> sqlite3.Connection:
    """A connection that commits each statement by itself, to a file made where there is none.

    `since`: for earlier versions, the statement that makes the next one of it.

    It may be used by any thread, one at a time. `synced` as FULL: a commit also survives a power
    cut, for some milliseconds of disk. Raises ConfigError if the file cannot be used.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(
            file, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synced}")
        found = _prepare(connection, schema, version, since)
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(f"{file}: cannot be used: {error}") from error
    if found != version:
        raise ConfigError(f"{file}: is of version {found}, and this darkroom reads {version}")
    return connection


def _prepare(
    connection: sqlite3.Connection, schema: str, version: int, since: Mapping[int, str]
) -> int:
    """Fill an empty file, and bring an earlier one up to date; the version of what is in it."""
    if _version(connection) in (0, *since):
        with connection:
            connection.execute("BEGIN IMMEDIATE")  # two processes may have found it so
            while (found := _version(connection)) in (0, *since):
                for statement in (since[found] if found else schema).split(";\n"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {found + 1 if found else version}")
    return _version(connection)


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)
