"""Wheels for another machine, by pip, from a folder instead of the index."""

import zipfile
from pathlib import Path

import pytest

from pipelines.weights.manifest import WeightsError
from pipelines.weights.wheels import PLATFORMS, fetch_wheels


def wheel(folder: Path, name: str, version: str, tag: str, requires: str = "") -> None:
    """An empty package as pip takes it."""
    info = f"{name}-{version}.dist-info"
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    about += f"Requires-Dist: {requires}\n" if requires else ""
    with zipfile.ZipFile(folder / f"{name}-{version}-{tag}.whl", "w") as out:
        out.writestr(f"{info}/METADATA", about)
        out.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nTag: {tag}\n")
        out.writestr(f"{info}/RECORD", "")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (folder := tmp_path / "index").mkdir()
    wheel(folder, "app", "1", "py3-none-any", "fast>=1")
    wheel(folder, "fast", "1", "py3-none-manylinux_2_28_aarch64")
    wheel(folder, "fast", "2", "py3-none-manylinux_2_28_aarch64")
    wheel(folder, "fast", "2", "py3-none-win_amd64")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.mark.parametrize(
    ("platform", "pins", "chosen"),
    [
        ("linux-aarch64", ["fast==1"], "fast-1-py3-none-manylinux_2_28_aarch64.whl"),
        ("linux-aarch64", [], "fast-2-py3-none-manylinux_2_28_aarch64.whl"),
        ("windows-x86_64", [], "fast-2-py3-none-win_amd64.whl"),
        ("win_amd64", [], "fast-2-py3-none-win_amd64.whl"),
    ],
)
def test_what_is_needed_for_a_platform(
    index: Path, tmp_path: Path, platform: str, pins: list[str], chosen: str
) -> None:
    fetch_wheels(platform, tmp_path / "out", ["app"], pins)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["app-1-py3-none-any.whl", chosen]


def test_what_there_is_not(index: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="pip download"):
        fetch_wheels("linux-x86_64", tmp_path / "out", ["app"], [])


def test_platforms() -> None:
    assert set(PLATFORMS) >= {"linux-x86_64", "linux-aarch64", "macos-arm64"}
