import os
import re
import time
from pathlib import Path

import pytest

from server.errors import ResultNotStored
from server.keeping.store import LIFETIME_S, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "images")


def test_a_saved_result_is_found_whole(store: Store, tmp_path: Path) -> None:
    name = store.save(b"picture", "png")
    assert re.fullmatch(r"img-[A-Za-z0-9]{24}\.png", name)
    path = store.find(name)
    assert path and path.read_bytes() == b"picture"
    assert os.listdir(tmp_path / "images") == [name]


def test_names_differ(store: Store) -> None:
    assert len({store.save(b"", "webp") for _ in range(20)}) == 20


@pytest.mark.parametrize(
    "name",
    ["", "..", "../link.key", "img-x.png", "img-" + "a" * 24 + ".exe", "img-" + "a" * 24 + ".png"],
)
def test_nothing_else_is_found(store: Store, tmp_path: Path, name: str) -> None:
    for other in ("link.key", "images/img-x.png", "images/img-" + "a" * 24 + ".exe"):
        (tmp_path / other).touch()
    assert store.find(name) is None


def test_a_full_disk_leaves_nothing_behind(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResultNotStored):
        store.save(b"picture", "png")
    assert os.listdir(tmp_path / "images") == []


def test_a_folder_that_is_gone(store: Store, tmp_path: Path) -> None:
    (tmp_path / "images").rmdir()
    with pytest.raises(ResultNotStored):
        store.save(b"picture", "png")


def test_data_is_on_disk_before_its_name_is(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    real = os.fsync

    def watched(descriptor: int) -> None:
        seen.append(os.listdir(tmp_path / "images"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    name = store.save(b"picture", "png")
    assert seen == [[f"{name}.partial"], [name]]


def test_the_sweeper_removes_what_has_expired_and_nothing_else(store: Store) -> None:
    old, young = store.save(b"old", "png"), store.save(b"young", "png")
    path = store.find(old)
    assert path
    past = time.time() - LIFETIME_S - 120
    os.utime(path, (past, past))
    assert store.sweep() == 1
    assert store.find(old) is None
    assert store.find(young)
    assert store.sweep(time.time() + LIFETIME_S - 10) == 0  # a link's whole hour


def test_a_half_written_file_is_its_writer_s_until_it_is_old(tmp_path: Path) -> None:
    half = tmp_path / "img-x.png.partial"
    half.write_bytes(b"half")
    other = Store(tmp_path)  # of a server that was started beside the first by mistake
    assert other.sweep() == 0
    past = time.time() - LIFETIME_S - 120
    os.utime(half, (past, past))
    assert other.sweep() == 1
    assert os.listdir(tmp_path) == []
