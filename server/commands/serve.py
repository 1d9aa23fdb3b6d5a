"""The process around the app: its socket, its signals, and its end.

The first SIGTERM or SIGINT stops accepting and lets what runs finish; the second one ends
everything at once.
"""

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from fastapi import FastAPI
from rich.console import Console
from rich.logging import RichHandler

from pipelines.registry import Registry
from server.app import create_app
from server.commands.patience import PatientProtocol
from server.commands.progress import ready_line, show_loading
from server.config import KEEP_ALIVE_S, Config, ConfigError
from server.fleet.fleet import Fleet
from server.prompts.policy import in_a_line

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_log = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """uvicorn, with an end that is clean after one signal and immediate after two."""

    def __init__(
        self,
        app: FastAPI,
        kill: Callable[[], None],
        announce: Callable[[], Awaitable[None]],
        keep_alive_s: int = KEEP_ALIVE_S,
    ) -> None:
        # h11 bounds the size of a request's head; httptools would read on as long as it is sent.
        config = uvicorn.Config(
            app,
            http=PatientProtocol,
            ws="none",
            log_config=None,
            server_header=False,
            proxy_headers=False,  # middleware.Forwarded reads them, of trusted peers alone
            timeout_keep_alive=keep_alive_s,
        )
        super().__init__(config)
        self._kill = kill
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and say so when the models are loaded."""
        await super().startup(sockets)
        self._announcement = asyncio.ensure_future(self._announce())

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Listen to signals while serving, without dying of them afterwards: the exit code is 0."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end, or end at once if that has begun."""
        if self.should_exit:
            try:
                self._kill()
            finally:
                os._exit(128 + sig)
        self.should_exit = True


def bind(config: Config) -> socket.socket:
    """A listening socket at the configured address; raises ConfigError if it is taken."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        return socket.create_server((config.host, config.port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {config.host} port {config.port}: {error.strerror}"
        ) from error


def url_of(listener: socket.socket) -> str:
    """Where a browser on this machine finds the socket."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(config: Config, registry: Registry, fleet: Fleet) -> None:
    """Serve until a signal ends it; raises ConfigError if it cannot begin."""
    listener = bind(config)  # first: where nothing can be served, nothing else is touched
    console = Console(stderr=True)
    _log_to(console)
    for path, reason in registry.loras.skipped.items():
        _log.warning("skipped %s in %s: %s", path, registry.loras.folder, reason)
    app = create_app(config, registry, fleet)

    async def announce() -> None:
        await show_loading(fleet.status, console)
        console.print(ready_line(url_of(listener), registry), soft_wrap=True, highlight=False)
        console.print(in_a_line(app.state.services.policy.status()), highlight=False)

    server = Server(app, fleet.kill, announce, config.keep_alive_s)
    server.run(sockets=[listener])


def _log_to(console: Console) -> None:
    """To a person in a terminal, or to a collector, a line an event."""
    if console.is_terminal:
        handlers = [RichHandler(console=console, show_path=False)]
        logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=handlers)
    else:
        layout = "%(asctime)s %(levelname)s %(name)s: %(message)s"
        logging.basicConfig(level=logging.INFO, format=layout)
    for chatty in ("uvicorn.error", "httpx"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("uvicorn.access").addFilter(_without_query)


def _without_query(record: logging.LogRecord) -> bool:
    """A line of the access log, with its path alone: the query of a result's link opens it."""
    if isinstance(record.args, tuple):
        client, method, target, *rest = record.args
        record.args = (client, method, str(target).partition("?")[0], *rest)
    return True
