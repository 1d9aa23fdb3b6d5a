"""One process beside the server, and the connection to it.

Knows pipes and threads: what it hears is handed to the event loop. What the messages mean is not
its business, nor what to do when the process ends.
"""

import asyncio
import contextlib
import logging
import os
import pickle
import queue
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from math import inf
from multiprocessing.connection import Connection
from typing import Any

from pipelines.messages import Begin, Finished, Shown, ToWorker
from pipelines.questions import ToAide
from pipelines.scheduling.pulse import UNHEARD_S, Pulse

Hear = Callable[[Any, bytes], None]
"""(message, the pixels that follow a `Finished` or `Shown`)."""

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Read by the hub's libraries when they are imported: a worker never reaches out."""

AT_ONCE = 16 * 1024
"""Bytes that a socket with room takes without blocking: they need no thread to be woken."""

log = logging.getLogger(__name__)


class ChildProcess:
    """Runs a module; `hear` and `ended` are called on the event loop, `ended` once and last.

    Raises OSError, and calls neither, if there is no memory or no descriptor left for one.
    """

    def __init__(
        self,
        module: str,
        first: Begin | ToAide,
        hear: Hear,
        ended: Callable[[], None],
        descriptors: Sequence[int] = (),
    ) -> None:
        """`first` is the first word to it; `descriptors` are shared with it as its arguments."""
        self._loop = asyncio.get_running_loop()
        self._hear, self._ended = hear, ended
        ours, theirs = socket.socketpair()
        with ours, theirs:
            shared = [theirs.fileno(), *descriptors]
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *map(str, shared)],
                pass_fds=shared,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C in the terminal is the server's to answer
                env=os.environ | OFFLINE,
            )
            self._connection = Connection(ours.detach())
        self._room = select.poll()
        self._room.register(self._connection.fileno(), select.POLLOUT)
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._behind = 0
        self._lock = threading.Lock()
        self._writer = self._thread(self._write)
        self._thread(self._read)
        self.send(first)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: ToWorker | ToAide) -> None:
        """Never blocks: a process that does not read holds up its own messages only."""
        data = pickle.dumps(message)
        with self._lock, contextlib.suppress(OSError):  # the reader sees the same end
            if not self._behind and len(data) <= AT_ONCE and self._room.poll(0):
                return self._connection.send_bytes(data)
            self._behind += 1
            self._outbox.put(data)

    def kill(self) -> None:
        """End the process at once, whatever it is doing; `ended` is called as for any other end."""
        self._process.kill()

    def _thread(self, work: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=work, name=f"child-{self.pid}", daemon=True)
        thread.start()
        return thread

    def _write(self) -> None:
        try:
            while (data := self._outbox.get()) is not None:
                self._connection.send_bytes(data)
                with self._lock:
                    self._behind -= 1
        except OSError:
            pass  # the reader sees the same end

    def _read(self) -> None:
        try:
            while True:
                message = self._connection.recv()
                has_pixels = isinstance(message, Finished | Shown)
                pixels = self._connection.recv_bytes() if has_pixels else b""
                self._tell(self._hear, message, pixels)
        except (EOFError, OSError):
            pass  # it is gone
        except Exception:  # whatever a pickle raises: who is not understood is not heard again
            log.exception("process %d said what nobody understands, and is ended", self.pid)
        self._outbox.put(None)
        self._process.kill()
        self._process.wait()
        self._writer.join()
        with self._lock:  # nobody is in the midst of sending
            self._connection.close()
        self._tell(self._ended)

    def _tell(self, what: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(what, *args)
        except RuntimeError:
            pass  # the loop has ended before its processes


class WorkerProcess(ChildProcess):
    """A worker, with a pulse that shows whether it hangs."""

    def __init__(self, begin: Begin, hear: Hear, ended: Callable[[], None]) -> None:
        self._pulse = Pulse()
        self._told = -1  # the first word is heard before it has a pulse
        self._heard, self._deaf_since = 0, inf

        def end() -> None:
            self._pulse.close()
            ended()

        try:
            super().__init__("pipelines.worker", begin, hear, end, [self._pulse.descriptor])
        except OSError:
            self._pulse.close()
            raise

    def send(self, message: ToWorker | ToAide) -> None:
        """As for any other process; what it is told, it should hear."""
        self._told += 1
        super().send(message)

    def hangs(self, now: float) -> bool:
        """Whether it is far beyond the time of its present pass, or has none and hears nothing.

        To be asked again and again; `now` in seconds of `time.monotonic`.
        """
        heard = self._pulse.heard
        if heard == self._told or heard != self._heard or not self._pulse.resting:
            self._heard, self._deaf_since = heard, now
        return self._pulse.overdue(now) or now - self._deaf_since > UNHEARD_S
