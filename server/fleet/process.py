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
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from multiprocessing.connection import Connection
from typing import Any

from pipelines.core import Job
from pipelines.messages import Begin, Failed, Finished, Run, Shown, ToWorker
from pipelines.questions import ToAide
from pipelines.scheduling.pulse import NO_SLOT, NUM_SLOTS, UNHEARD_S, Pulse

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

ALLOCATOR = {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}
"""Read by torch's CUDA allocator when it starts: passes of many sizes fragment its memory less."""
_ALLOCATOR_NAMES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")

AT_ONCE = 16 * 1024
"""Bytes that a socket with room takes without blocking: they need no thread to be woken."""

_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Death:
    """How a process ended."""

    returncode: int = 1
    """As `subprocess` tells it: a signal is negative."""
    hung: bool = False
    """The server ended it, because it hung."""
    loading: str | None = None
    """The model that it was loading."""

    @property
    def from_outside(self) -> bool:
        """Whether an operator or the kernel ended it, rather than its own fault."""
        return not self.hung and -self.returncode in _FROM_OUTSIDE

    def __str__(self) -> str:
        if self.hung:
            return "hung"
        if self.returncode >= 0:
            return f"exit status {self.returncode}"
        try:
            return signal.Signals(-self.returncode).name
        except ValueError:
            return f"signal {-self.returncode}"


def child_environment(own: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a child; settings of the allocator that the operator made hold."""
    chosen = any(name in own for name in _ALLOCATOR_NAMES)
    return {**({} if chosen else ALLOCATOR), **own, **OFFLINE}


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
                env=child_environment(os.environ),
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

    @property
    def returncode(self) -> int:
        """How it ended; 0 while it lives."""
        return self._process.returncode or 0

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


@dataclass(frozen=True, slots=True)
class _Given:
    """A job that a worker was sent: in which message, and the slot for the mark of its start."""

    message: int
    slot: int


class WorkerProcess(ChildProcess):
    """A worker, with a heartbeat that shows whether it hangs and which jobs it has started."""

    def __init__(self, begin: Begin, hear: Hear, ended: Callable[[], None]) -> None:
        self._pulse = Pulse()
        self._told = -1  # the first word is heard before it has a pulse
        self._heard, self._deaf_since = 0, inf
        self._models = list(begin.models)
        self._given: dict[str, _Given] = {}
        self._free_slots = list(range(NUM_SLOTS))
        self._hung = False
        self.death: Death | None = None
        """How it ended, once it has."""
        self.started: frozenset[str] = frozenset()
        """The ids of the jobs that it had started and not answered when it ended."""

        def settle(message: Any, pixels: bytes) -> None:
            if isinstance(message, Finished | Failed):
                self._take_back(message.job_id)
            hear(message, pixels)

        def end() -> None:
            self._examine()
            self._pulse.close()
            ended()

        try:
            super().__init__("pipelines.worker", begin, settle, end, [self._pulse.descriptor])
        except OSError:
            self._pulse.close()
            raise

    def send(self, message: ToWorker | ToAide) -> None:
        """As for any other process; what it is told, it should hear."""
        self._told += 1
        super().send(message)

    def run(self, job: Job, waited_s: float) -> None:
        """Send it a job. After its death, `started` tells whether it had begun to work on it."""
        slot = self._free_slots.pop() if self._free_slots else NO_SLOT
        if slot != NO_SLOT:
            self._pulse.clear_slot(slot)
        self._given[job.id] = _Given(self._told + 1, slot)
        self.send(Run(job, waited_s, slot))

    def hangs(self, now: float) -> bool:
        """Whether it is far beyond the time of its present pass, or has none and hears nothing.

        To be asked again and again; `now` in seconds of `time.monotonic`.
        """
        heard = self._pulse.heard
        if heard == self._told or heard != self._heard or not self._pulse.resting:
            self._heard, self._deaf_since = heard, now
        return self._pulse.overdue(now) or now - self._deaf_since > UNHEARD_S

    def end_hanging(self) -> None:
        """End a process that hangs: its death counts as a crash."""
        self._hung = True
        self.kill()

    def _take_back(self, job_id: str) -> None:
        given = self._given.pop(job_id, None)
        if given is not None and given.slot != NO_SLOT:
            self._free_slots.append(given.slot)

    def _examine(self) -> None:
        """Read from the heartbeat what a dead worker was doing."""
        index = self._pulse.loading
        loading = None if index is None else self._models[index]
        self.death = Death(self.returncode, self._hung, loading)
        self.started = frozenset(
            id for id, given in self._given.items() if self._was_started(given)
        )

    def _was_started(self, given: _Given) -> bool:
        """A job whose message was being unpickled counts as started, too."""
        if given.message > self._pulse.heard:
            return self._pulse.receiving and given.message == self._pulse.heard + 1
        return self._pulse.is_started(given.slot)
