"""A SQLite file as this server keeps one: shared by processes, and whole after any end of them.

A commit is in the write-ahead log before it returns, which is in the kernel's hands: kill -9 of the
process, at any moment, takes nothing back. A power cut can take back what was not synced. Knows
files and versions of schemas; not what is in them.
"""

import os
import sqlite3
from pathlib import Path
from typing import Literal

from server.config import ConfigError

_BUSY_S = 10.0
"""How long a writer waits for another one."""


def connect(
    file: Path, schema: str, version: int, synced: Literal["NORMAL", "FULL"] = "NORMAL"
) -> sqlite3.Connection:
    """A connection that commits each statement by itself, to a file made where there is none.

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
        found = _prepare(connection, schema, version)
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(f"{file}: cannot be used: {error}") from error
    if found != version:
        raise ConfigError(f"{file}: is of version {found}, and this darkroom reads {version}")
    return connection


def _prepare(connection: sqlite3.Connection, schema: str, version: int) -> int:
    """Fill an empty file; the version of what is in it."""
    found = _version(connection)
    if found == 0:
        with connection:
            connection.execute("BEGIN IMMEDIATE")  # two processes may have found it empty
            if _version(connection) == 0:
                for statement in schema.split(";\n"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {version}")
        found = _version(connection)
    return found


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)
