"""A server process of its own over a fake fleet, with the registry of `conftest`."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil


@contextmanager
def running(folder: Path, delay_s: float = 0) -> Iterator[tuple[str, psutil.Process]]:
    """Where it is, and itself; `folder` has its weights.yaml, and maybe a keys.txt."""
    command = [sys.executable, "-m", "tests.server.fake_server", str(folder), str(delay_s)]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr
    url = ""
    while not url:
        line = server.stderr.readline()
        assert line, "the server ended before it was ready"
        found = re.search(r"http://[\d.]+:\d+", line)
        url = found[0] if found else ""
    threading.Thread(target=server.stderr.read, daemon=True).start()
    try:
        yield url, psutil.Process(server.pid)
    finally:
        server.terminate()
        server.wait(10)
