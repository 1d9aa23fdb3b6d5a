"""The app over a fake fleet in a process of its own, which may be killed: `lone.py FOLDER PORT`."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.registry import Registry
from server.app import create_app
from server.commands.serve import Server
from server.config import Config
from tests.server.conftest import WEIGHTS
from tests.server.fakes import FakeFleet

ROOT = Path(__file__).parents[2]


@contextmanager
def lone_server(folder: Path) -> Iterator["LoneServer"]:
    """A server at work, that may be killed and started again."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        server = LoneServer(folder, listener)
        try:
            yield server
        finally:
            server.kill()


class LoneServer:
    """Such a process; `data` is what it leaves behind."""

    def __init__(self, folder: Path, listener: socket.socket) -> None:
        (folder / "demo").mkdir(exist_ok=True)
        (folder / "demo" / "model_index.json").write_text("{}")
        (folder / "weights.yaml").write_text(WEIGHTS)
        self.data = folder / "data"
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._command = [sys.executable, "-m", __spec__.name, folder, str(listener.fileno())]
        self._listener = listener
        self.start()

    def start(self) -> None:
        """Another process at the same address; connections wait for it."""
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, pass_fds=[self._listener.fileno()], start_new_session=True
        )

    def kill(self) -> None:
        """As the kernel does when memory runs out."""
        self._process.kill()
        assert self._process.wait(60) == -signal.SIGKILL


def _main(folder: Path, descriptor: int) -> None:
    config = Config(weights=(folder / "weights.yaml",), data_dir=folder / "data")
    registry = Registry(config.weights, folder / "models")
    fleet = FakeFleet()
    fleet.delay_s = 0.02

    async def announce() -> None:
        pass

    app = create_app(config, registry, fleet)  # type: ignore[arg-type]
    listener = socket.socket(fileno=descriptor)
    Server(app, kill=fleet.kill, announce=announce).run(sockets=[listener])


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]))
