"""The house rules that no linter knows: sizes, documentation, and imports that cost nothing."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(p for package in ("server", "pipelines") for p in (ROOT / package).rglob("*.py"))

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def length(node: Function) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


@pytest.mark.parametrize("module", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_is_small_and_says_what_it_is(module: Path) -> None:
    source = module.read_text()
    tree = ast.parse(source)
    assert source.count("\n") <= 500
    assert ast.get_docstring(tree)
    assert [f.name for f in functions(tree) if length(f) > 50] == []


def test_functions_fit_in_a_glance() -> None:
    lengths = [length(f) for m in MODULES for f in functions(ast.parse(m.read_text()))]
    assert median(lengths) < 10


@pytest.mark.parametrize("module", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_public_names_are_documented(module: Path) -> None:
    tree = ast.parse(module.read_text())
    public = [
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_")
    ]
    assert [node.name for node in public if not ast.get_docstring(node)] == []


def test_the_environment_is_read_in_one_place() -> None:
    """`process` hands it on to the workers; only the command line reads settings from it."""
    readers = {m.name for m in MODULES if re.search(r"os\.environ|getenv", m.read_text())}
    assert readers <= {"cli.py", "process.py"}


def test_every_module_is_in_the_layout() -> None:
    layout = (ROOT / "docs" / "ARCHITECTURE.md").read_text().split("\n## Layout\n")[1]
    named = {name for told in re.findall(r"`([^`]+)`", layout) for name in told.split("/")}
    apart = (ROOT / "pipelines" / "tasks", ROOT / "server" / "routes")
    assert {module.stem for module in MODULES if module.parent not in apart} - named == {"__init__"}


def test_the_container_is_built_from_all_that_the_package_has() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    wheel = wheel["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["force-include"], "pyproject.toml", "constraints.txt"}
    recipe = (ROOT / "Dockerfile.cuda").read_text()
    copied = {name for line in re.findall(r"^COPY (.+) ", recipe, re.M) for name in line.split()}
    let_in = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.M))
    assert needed <= copied <= let_in


def test_importing_the_server_loads_no_tensor_library_and_does_nothing(tmp_path: Path) -> None:
    names = [
        ".".join(m.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for m in MODULES
        if m.parts[len(ROOT.parts)] == "server"
    ]
    code = f"""
import sys, threading
{"; ".join(f"import {name}" for name in names)}
heavy = {{"torch", "diffusers", "transformers"}} & set(sys.modules)
assert not heavy, heavy
assert threading.active_count() == 1
"""
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}
    )
    assert list(tmp_path.iterdir()) == []
