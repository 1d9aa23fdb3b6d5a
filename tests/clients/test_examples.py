"""Every example of docs/api.md runs as it stands, but for the address of the server."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.clients.conftest import HERE, run

DOCS = (HERE.parents[1] / "docs" / "api.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"


def examples(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCS, re.MULTILINE | re.DOTALL)


def half_transparent(file: Path) -> None:
    """What an example works on: a square whose left half is to be repainted."""
    picture = Image.new("RGBA", (256, 256), (200, 30, 30, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 128, 256))
    picture.save(file)


@pytest.fixture
def example(url: str, tmp_path: Path) -> Callable[[str, str], Path]:
    """An example as a file in an empty folder, with this server's address in it."""

    def write(text: str, name: str) -> Path:
        assert ADDRESS in text
        for picture in re.findall(r'open\("([\w.]+)", "rb"\)|@([\w.]+)', text):
            half_transparent(tmp_path / "".join(picture))
        file = tmp_path / name
        file.write_text(text.replace(ADDRESS, url))
        return file

    return write


def test_there_are_examples_of_each_language() -> None:
    assert all(examples(language) for language in ("python", "bash", "js"))


@pytest.mark.parametrize("text", examples("python"))
def test_python(example: Callable[[str, str], Path], text: str, tmp_path: Path) -> None:
    file = example(text, "example.py")
    subprocess.run([sys.executable, file], cwd=tmp_path, check=True, timeout=300)


@pytest.mark.parametrize("text", examples("bash"))
def test_curl(example: Callable[[str, str], Path], text: str, tmp_path: Path) -> None:
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    file = example(text.replace("curl ", "curl --fail -sS "), "example.sh")
    subprocess.run(["bash", "-e", file], cwd=tmp_path, check=True, timeout=300)


@pytest.mark.parametrize("text", examples("js"))
def test_node(example: Callable[[str, str], Path], text: str, tmp_path: Path) -> None:
    if not shutil.which("node") or not (HERE / "node" / "node_modules").exists():
        pytest.skip("Node or its clients are not installed: make clients")
    (tmp_path / "node_modules").symlink_to(HERE / "node" / "node_modules")
    run(["node", example(text, "example.mjs")])
