"""Real clients, talking to a real socket. Those that are not installed are skipped, and say so."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.server.conftest import config, fleet, registry, url

__all__ = ["config", "fleet", "registry", "url"]

HERE = Path(__file__).parent
INSTALLED = Path(sys.prefix) / "clients"
"""Where `make clients` puts the Python clients that cannot live beside the newest SDK."""


def run(command: list[Any], *, check: bool = True) -> str:
    """What a client printed; a failed check of its is this test's failure."""
    environment = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "*"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def python(url: str) -> Callable[[str, str], None]:
    """Run a script of tests/clients/python with the packages of one of `make clients`' folders."""

    def run_script(packages: str, script: str) -> None:
        interpreter = INSTALLED / packages / "bin" / "python"
        if not interpreter.exists():
            pytest.skip(f"the clients of {packages}.txt are not installed: make clients")
        run([interpreter, HERE / "python" / script, url])

    return run_script


@pytest.fixture
def node(url: str) -> Callable[..., None]:
    """Run a script of tests/clients/node."""

    def run_script(script: str, *arguments: str) -> None:
        if not shutil.which("node"):
            pytest.skip("Node is not installed")
        if not (HERE / "node" / "node_modules").exists():
            pytest.skip("the clients of Node are not installed: make clients")
        run(["node", HERE / "node" / script, url, *arguments])

    return run_script
