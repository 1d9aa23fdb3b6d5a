"""The app over a fake fleet on a real socket, served by a thread of this process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.registry import Registry
from server.app import create_app
from server.config import Config
from server.serve import Server, bind, url_of
from tests.server.fakes import FakeFleet


@contextmanager
def serving(config: Config, registry: Registry, fleet: FakeFleet) -> Iterator[str]:
    """Where it is; it has ended, and in order, when the block has."""
    listener = bind(config)
    app = create_app(config, registry, fleet)  # type: ignore[arg-type]
    announced = threading.Event()

    async def announce() -> None:
        announced.set()

    server = Server(app, kill=fleet.kill, announce=announce)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    assert announced.wait(10)
    try:
        yield url_of(listener)
    finally:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()
