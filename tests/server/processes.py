"""A server process of its own over a fake fleet, with the registry of `conftest`."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.server.sockets import wait_for

LOG = "log"
"""The file in the server's folder with all that it says."""


@contextmanager
def running(folder: Path, delay_s: float = 0) -> Iterator[tuple[str, psutil.Process]]:
    """Where it is, and itself; `folder` has its weights.yaml, and maybe a keys.txt.

    Each of its jobs takes `delay_s`.
    """
    command = [sys.executable, "-m", "tests.server.fake_server", str(folder), str(delay_s)]
    log = folder / LOG
    with log.open("w") as file:
        server = subprocess.Popen(command, stderr=file)

    def where() -> re.Match[str] | None:
        assert server.poll() is None, "the server ended before it was ready"
        return re.search(r"ready at (\S+)", log.read_text())

    try:
        wait_for(where, 120)
        yield where()[1], psutil.Process(server.pid)
    finally:
        server.terminate()
        try:
            server.wait(60)
        finally:
            server.kill()
