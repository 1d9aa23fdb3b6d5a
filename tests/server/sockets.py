"""The app over a fake fleet on a real socket, served by a thread of this process."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from pipelines.registry import Registry
from server.app import create_app
from server.commands.serve import Server, bind, url_of
from server.config import Config
from tests.server.fakes import FakeFleet


@contextmanager
def serving(config: Config, registry: Registry, fleet: FakeFleet) -> Iterator[str]:
    """Where it is; it has ended, and in order, when the block has."""
    listener = bind(config)
    app = create_app(config, registry, fleet)  # type: ignore[arg-type]
    announced = threading.Event()

    async def announce() -> None:
        announced.set()

    server = Server(app, fleet.kill, announce, config.keep_alive_s)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    assert announced.wait(60)
    try:
        yield url_of(listener)
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


def connected(url: str, receive_buffer: int | None = None) -> socket.socket:
    """A bare connection; what it does not read soon fills a buffer of so many bytes."""
    connection = socket.socket()
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(30)
    where = urlsplit(url)
    connection.connect((where.hostname, where.port))
    return connection


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Until it is so; an AssertionError if that takes longer."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)
