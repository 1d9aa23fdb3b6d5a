"""Files on disk: whole, their owner's, and gone after an hour."""

import os
import time
from io import BytesIO
from pathlib import Path

import pytest

from server.errors import BodyTooLarge, FileNotStored, InvalidValue, ResultNotStored
from server.keeping import files
from server.keeping.files import Files
from server.keeping.store import LIFETIME_S


@pytest.fixture
def store(tmp_path: Path) -> Files:
    return Files(tmp_path / "files")


def save(store: Files, content: bytes = b"picture", owner: str = "alice") -> files.Stored:
    return store.save(BytesIO(content), owner, "a.png", "image/png")


def test_survives_a_restart(store: Files, tmp_path: Path) -> None:
    stored = save(store)
    again = Files(tmp_path / "files")
    assert again.find(stored.id, "alice") == stored
    assert again.path(stored).read_bytes() == b"picture"


def test_expires_after_an_hour(store: Files, tmp_path: Path) -> None:
    stored = save(store)
    assert store.find(stored.id, "alice", now=stored.created_at + LIFETIME_S)
    with pytest.raises(FileNotStored):
        store.find(stored.id, "alice", now=stored.created_at + LIFETIME_S + 1)
    assert store.sweep() == 0
    past = time.time() - LIFETIME_S - 120
    for path in (tmp_path / "files").iterdir():
        os.utime(path, (past, past))
    assert store.sweep() == 2
    assert list((tmp_path / "files").iterdir()) == []


def test_a_file_that_is_half_written_is_not_there(store: Files, tmp_path: Path) -> None:
    stored = save(store)
    (tmp_path / "files" / f"{stored.id}.json").write_text('{"id": "file-')
    assert store.list("alice") == []
    with pytest.raises(FileNotStored):
        store.find(stored.id, "alice")


def test_keeps_a_bounded_number_of_deleted_files_as_cursors(
    store: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_DELETED", 2)
    deleted = [save(store).id for _ in range(3)]
    for id in deleted:
        store.delete(id, "alice")
    with pytest.raises(InvalidValue):
        store.list("alice", after=deleted[0])
    assert store.list("alice", after=deleted[2]) == []


def test_an_owner_has_so_much_room(store: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_BYTES", 10)
    save(store)
    with pytest.raises(BodyTooLarge):
        save(store)
    save(store, owner="bob")


def test_a_full_disk_is_told(store: Files, tmp_path: Path) -> None:
    os.rmdir(tmp_path / "files")
    with pytest.raises(ResultNotStored):
        save(store)
