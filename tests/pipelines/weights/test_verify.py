"""Verifying: what differs is told, and what was read is not read again."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.weights import verify as module
from pipelines.weights.manifest import MANIFEST, WeightsError, make_manifest, write_manifest
from pipelines.weights.verify import Report, is_remembered, require_trusted, verify
from tests.pipelines.weights.conftest import Repository

WEIGHTS = "text_encoder/model.safetensors"


@pytest.fixture
def folder(
    repository: Repository, needed: list[str], write: Callable[[Repository, str], Path]
) -> Path:
    folder = write({path: repository[path] for path in needed}, "models/tiny")
    write_manifest(folder, make_manifest(folder))
    return folder


def flip(file: Path) -> None:
    """Another content of the same size."""
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def test_what_is_missing_changed_and_extra_is_told(folder: Path) -> None:
    assert verify(folder) == Report([], [], [])
    flip(folder / WEIGHTS)
    (folder / "unet" / "config.json").unlink()
    (folder / "model_index.json").write_text("longer than before" * 99)
    (folder / "unet" / "more.safetensors").touch()
    (folder / "entry.yaml").touch()
    report = verify(folder)
    assert report == Report(
        ["unet/config.json"], ["model_index.json", WEIGHTS], ["unet/more.safetensors"]
    )
    assert not report.intact
    assert str(report).startswith("missing: unet/config.json; changed: model_index.json, text_")


def test_a_folder_without_a_manifest_cannot_be_verified(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no manifest"):
        verify(tmp_path)


def test_the_bytes_that_are_read_are_counted(folder: Path) -> None:
    done: list[int] = []
    verify(folder, done.append)
    assert sum(done) == sum(f.stat().st_size for f in folder.rglob("*.*") if f.name[0] != "."
                            and f.name != MANIFEST and f.is_file())  # fmt: skip


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Which files were read at each time."""
    times: list[list[str]] = []
    original = module.hash_files

    def hash_files(folder: Path, paths: list[str], *rest: object) -> object:
        times.append(sorted(paths))
        return original(folder, paths, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "hash_files", hash_files)
    return times


def test_what_was_loaded_once_is_not_read_again(folder: Path, read: list[list[str]]) -> None:
    require_trusted(folder)
    require_trusted(folder)
    assert len(read[0]) == 8
    assert read[1] == []


def test_verifying_reads_everything_again(folder: Path, read: list[list[str]]) -> None:
    require_trusted(folder)
    verify(folder)
    assert read[0] == read[1]


@pytest.mark.parametrize("how", ["content", "time", "inode"])
def test_a_file_that_was_touched_is_read_again(
    folder: Path, read: list[list[str]], how: str
) -> None:
    require_trusted(folder)
    file = folder / WEIGHTS
    if how == "content":
        flip(file)
        with pytest.raises(WeightsError, match=f"changed: {WEIGHTS}"):
            require_trusted(folder)
    else:
        if how == "time":
            os.utime(file, ns=(1, 1))
        else:
            state = file.stat()
            file.with_suffix(".copy").write_bytes(file.read_bytes())
            file.with_suffix(".copy").replace(file)
            os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
        require_trusted(folder)
    assert read[1] == [WEIGHTS]


def test_a_refused_model_stays_refused(folder: Path) -> None:
    flip(folder / WEIGHTS)
    for _ in range(2):
        with pytest.raises(WeightsError):
            require_trusted(folder)


def test_files_that_the_manifest_does_not_list_are_refused(folder: Path) -> None:
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"planted")
    with pytest.raises(WeightsError, match="not of it: unet/"):
        require_trusted(folder)


def test_what_is_remembered_belongs_to_one_manifest(folder: Path) -> None:
    manifest = make_manifest(folder)
    require_trusted(folder)
    assert is_remembered(folder, manifest)
    flip(folder / WEIGHTS)
    other = make_manifest(folder)
    assert not is_remembered(folder, manifest)
    write_manifest(folder, other)
    require_trusted(folder)
    assert is_remembered(folder, other)


def test_what_cannot_be_remembered_is_read_each_time(folder: Path, read: list[list[str]]) -> None:
    (folder / ".verified.json").mkdir()
    require_trusted(folder)
    require_trusted(folder)
    assert read[0] == read[1]


@pytest.mark.parametrize("junk", ["", "[]", '{"model_index.json": 7}'])
def test_a_broken_memory_is_none(folder: Path, junk: str) -> None:
    (folder / ".verified.json").write_text(junk)
    require_trusted(folder)


def test_a_model_without_a_manifest_is_only_looked_at_for_code(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    flip(folder / WEIGHTS)
    require_trusted(folder)
    (folder / "unet" / "config.json").write_text('{"auto_map": {"AutoModel": "x.Y"}}')
    with pytest.raises(WeightsError, match="asks for code"):
        require_trusted(folder)
