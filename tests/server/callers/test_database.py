import sqlite3
from pathlib import Path

import pytest

from server.callers.database import connect
from server.config import ConfigError

SCHEMA = "CREATE TABLE one (value TEXT);\nCREATE TABLE two (value TEXT)"


def test_a_file_is_made_once_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "file.db"
    connect(file, SCHEMA, 1).execute("INSERT INTO two VALUES ('a')")
    (row,) = connect(file, SCHEMA, 1).execute("SELECT value FROM two")
    assert row["value"] == "a"


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    connection = connect(tmp_path / "file.db", SCHEMA, 1)
    connection.execute("INSERT INTO one VALUES ('a')")
    modes = {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert len(list(tmp_path.iterdir())) == 3 and modes == {0o600}


@pytest.mark.parametrize(("synced", "level"), [("NORMAL", 1), ("FULL", 2)])
def test_commits_go_to_the_log_and_as_far_as_was_asked(
    tmp_path: Path, synced: str, level: int
) -> None:
    connection = connect(tmp_path / "file.db", SCHEMA, 1, synced)  # type: ignore[arg-type]
    assert tuple(*connection.execute("PRAGMA journal_mode")) == ("wal",)
    assert tuple(*connection.execute("PRAGMA synchronous")) == (level,)


def test_a_file_of_another_version_is_left_alone(tmp_path: Path) -> None:
    connect(tmp_path / "file.db", SCHEMA, 2).close()
    with pytest.raises(ConfigError, match="is of version 2, and this darkroom reads 1"):
        connect(tmp_path / "file.db", SCHEMA, 1)


def test_a_file_of_an_earlier_version_is_brought_up_to_date(tmp_path: Path) -> None:
    connect(tmp_path / "file.db", SCHEMA, 1).execute("INSERT INTO one VALUES ('a')")
    now = "CREATE TABLE one (value TEXT, more TEXT, most TEXT)"
    since = {
        1: "ALTER TABLE one ADD COLUMN more TEXT",
        2: "ALTER TABLE one ADD COLUMN most TEXT",
    }
    for _ in range(2):
        connection = connect(tmp_path / "file.db", now, 3, since=since)
        assert tuple(*connection.execute("SELECT * FROM one")) == ("a", None, None)
        assert tuple(*connection.execute("PRAGMA user_version")) == (3,)


def test_what_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "file.db").write_text("something else, and long enough to be looked at" * 50)
    with pytest.raises(ConfigError, match="cannot be used"):
        connect(tmp_path / "file.db", SCHEMA, 1)
    with pytest.raises(ConfigError, match="cannot be used"):
        connect(tmp_path / "file.db" / "below.db", SCHEMA, 1)


def test_a_schema_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        connect(tmp_path / "file.db", "CREATE TABLE one (value TEXT);\nCREATE NONSENSE", 1)
    with sqlite3.connect(tmp_path / "file.db") as database:
        assert list(database.execute("SELECT * FROM sqlite_master")) == []
