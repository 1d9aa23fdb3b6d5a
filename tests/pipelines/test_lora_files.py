"""The folder of LoRAs: names, files, and what they are for."""

from pathlib import Path

import pytest

from pipelines.lora_files import LoraFiles

NAMES = [
    "a.v1",
    "b",
    "_x",
    "-x",
    "with space",
    "[v2] (final)",
    "水墨画",
    "café",
    "style/inks/b",
    "风格 [1]/_墨",
]
SKIPPED = {
    ".hidden.safetensors": "begins with a dot",
    "c.bin": "pickled",
    "UPPER.SAFETENSORS": "small letters",
    "d.safetensors": "is a folder",
    "gone.safetensors": "link to nothing",
    " blank.safetensors": "begins or ends with a blank",
    "two\\nlines.safetensors": "control",
    "turn\\u202eround.safetensors": "invisible",
    "a:b.safetensors": "colon",
    f"{'x' * 201}.safetensors": "longer than 200",
    "style/inks/b.yaml": "does not say",
}


@pytest.fixture
def files(tmp_path: Path) -> LoraFiles:
    folder = tmp_path / "loras"
    for path in [*(f"{name}.safetensors" for name in NAMES), *SKIPPED, ".staged/e.safetensors"]:
        file = folder / path.replace("\\n", "\n").replace("\\u202e", "\u202e")
        file.parent.mkdir(parents=True, exist_ok=True)
        if path.startswith("d."):
            file.mkdir()
        elif path.startswith("gone."):
            file.symlink_to(tmp_path / "never")
        else:
            file.touch()
    (folder / "preview.png").touch()
    (folder / "style" / "again").symlink_to(folder)
    (tmp_path / "outside.safetensors").touch()
    return LoraFiles(folder)


def test_names_are_paths_in_the_folder_in_any_script(files: LoraFiles) -> None:
    assert files.names == sorted(NAMES)
    for name in NAMES:
        assert files.path(name) == files.folder / f"{name}.safetensors"


def test_what_is_skipped_is_told_with_the_reason(files: LoraFiles) -> None:
    found = files.skipped
    assert found.keys() == SKIPPED.keys()
    for path, reason in SKIPPED.items():
        assert reason in found[path]
        assert path.isprintable()


def test_an_accent_may_be_composed_or_not(files: LoraFiles) -> None:
    assert files.path("cafe\u0301") == files.folder / "café.safetensors"


@pytest.mark.parametrize(
    "name",
    [
        "c", "d", "gone", "never", "../outside", "style/../b", "style/../../outside", "/b",
        "style//inks/b", "./b", "b/", "style\\inks\\b", ".hidden", ".staged/e", "", " ", "b\n",
        "b\0", "x" * 201, "水" * 100, "\ud800", "b\u202e",
    ],
)  # fmt: skip
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
    assert ("b.yaml" in files.skipped) == (bases is None)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    files = LoraFiles(tmp_path / "never")
    assert files.names == []
    assert files.path("a") is None
    assert files.by_base() == {}
