"""The folder of LoRAs: names, files, and what they are for."""

from pathlib import Path

import pytest

from pipelines.lora_files import LoraFiles


@pytest.fixture
def files(tmp_path: Path) -> LoraFiles:
    folder = tmp_path / "loras"
    folder.mkdir()
    for name in ("b", "a.v1", ".hidden", "-x", "with space"):
        (folder / f"{name}.safetensors").touch()
    (folder / "c.bin").touch()
    (folder / "d.safetensors").mkdir()
    (tmp_path / "outside.safetensors").touch()
    return LoraFiles(folder)


def test_names_are_plain_ones_of_safetensors(files: LoraFiles) -> None:
    assert files.names == ["a.v1", "b"]
    assert files.path("b") == files.folder / "b.safetensors"


@pytest.mark.parametrize("name", ["c", "d", "never", "../outside", ".hidden", "", "b\n", "x" * 200])
def test_nothing_else_is_one(files: LoraFiles, name: str) -> None:
    assert files.path(name) is None


@pytest.mark.parametrize(
    ("said", "bases"),
    [
        ("base: flux", {"flux"}),
        ("base: [flux, sdxl]", {"flux", "sdxl"}),
        ("base: []", set()),
        ("base: 7", None),
        ("base: flux\ntrigger: ink", None),
        ("base: [", None),
        ("", None),
        ("base: '../x'", None),
    ],
)
def test_what_it_is_for(files: LoraFiles, said: str, bases: set[str] | None) -> None:
    assert files.bases("b") is None
    (files.folder / "b.yaml").write_text(said)
    assert files.bases("b") == bases
    assert files.by_base() == {base: ["b"] for base in bases or ()}


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    files = LoraFiles(tmp_path / "never")
    assert files.names == []
    assert files.path("a") is None
    assert files.by_base() == {}
