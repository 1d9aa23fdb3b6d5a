"""What a manifest may list, and that it lists what is there."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.weights.manifest import (
    MANIFEST,
    WeightsError,
    make_manifest,
    read_manifest,
    require_plain,
    write_manifest,
)
from tests.pipelines.weights.conftest import Repository

Write = Callable[[Repository, str], Path]


def test_every_file_s_size_and_hash(write: Write) -> None:
    folder = write({"a": b"one", "b/c": b"", "b/.hidden": b"x", ".git/d": b"x"}, "m")
    done: list[int] = []
    manifest = make_manifest(folder, done.append)
    assert {path: record.size for path, record in manifest.files.items()} == {"a": 3, "b/c": 0}
    assert manifest.files["a"].sha256 == hashlib.sha256(b"one").hexdigest()
    assert (manifest.size, sum(done)) == (3, 3)
    write_manifest(folder, manifest)
    assert read_manifest(folder) == manifest == make_manifest(folder)


def test_a_folder_without_one(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"files": {}}',
        '{"files": {"a": {"size": -1, "sha256": "%s"}}}' % ("0" * 64),
        '{"files": {"a": {"size": 1, "sha256": "no"}}}',
        '{"files": {"../a": {"size": 1, "sha256": "%s"}}}' % ("0" * 64),
        '{"files": {"a": {"size": 1, "sha256": "%s"}}, "more": 1}' % ("0" * 64),
    ],
)
def test_a_broken_one_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(WeightsError, match="is not a manifest"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "path",
    [
        "", "/etc/passwd", "..", "../a", "a/../b", "a//b", "a/", "./a", "a\\b", "C:a", "a\0b",
        "a\nb", ".hidden", "a/.hidden", "entry.yaml", "manifest.json", "a.", "x" * 256,
    ],
)  # fmt: skip
def test_paths_that_are_not_plain(path: str) -> None:
    with pytest.raises(WeightsError):
        require_plain(path)


@pytest.mark.parametrize("path", ["model_index.json", "unet/a-00001-of-00002.safetensors", "a b"])
def test_paths_that_are(path: str) -> None:
    require_plain(path)
