"""A real server: `darkroom serve` in a process of its own, on a free port, until the block ends."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[1]
DARKROOM = Path(sys.executable).with_name("darkroom")


@contextmanager
def serving(data_dir: Path, *arguments: str, log: int | None = None) -> Iterator[str]:
    """The base URL of a server that is ready; it must end cleanly when it is asked to."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [DARKROOM, "serve", "--port", str(port), "--data-dir", str(data_dir), *arguments]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DARKROOM_")}
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=log)
    try:
        _wait(server, f"http://127.0.0.1:{port}/readyz")
        yield f"http://127.0.0.1:{port}"
        server.send_signal(signal.SIGTERM)
        assert server.wait(120) == 0, "a server that is asked to end ends with 0"
    finally:
        server.kill()


def _wait(server: subprocess.Popen[bytes], url: str) -> None:
    with httpx.Client(trust_env=False) as client:
        for _ in range(3000):
            assert server.poll() is None, "the server ended before it was ready"
            try:
                if client.get(url).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
    raise AssertionError("the server did not become ready")
