"""The process around an engine: it owns a device; a connection to the server is its only tie.

`python -m pipelines.worker FD` is started by the server with one end of a socket pair. The process
ends when the server's end closes, whatever it was doing.
"""

import logging
import os
import select
import sys
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from pipelines.core import Image, JobError, ModelUnavailable, Preview
from pipelines.messages import (
    Begin,
    Cancel,
    Failed,
    Finished,
    Hello,
    Run,
    Shown,
    State,
    ToWorker,
)

if TYPE_CHECKING:
    from pipelines.engine import Engine, Report
    from pipelines.loader import Resident
    from pipelines.pool import Pool

PROMPTS_KEPT = 256 * 2**20
"""Bytes of text embeddings that a device remembers."""

log = logging.getLogger(__name__)


class Worker:
    """One engine, fed from the connection; a loaded model rings a bell."""

    def __init__(self, connection: Connection, begin: Begin) -> None:
        self._connection = connection
        self._bell, self._rope = os.pipe()
        self._said_by = select.poll()
        for fd in (connection.fileno(), self._bell):
            self._said_by.register(fd, select.POLLIN)
        self._preloading = list(begin.preload)
        self._said: State | None = None
        self._pool: Pool[Resident]
        self._engine: Engine
        self._pool, self._engine = _assemble(begin, self._report, self._wake)

    def run(self) -> None:
        """Until the process ends: hear, step, say what has changed."""
        while True:
            self._preloading = [model for model in self._preloading if not self._settled(model)]
            self._engine.step()
            self._say_state()
            self._hear()

    def _hear(self) -> None:
        """Everything that was said; waits for it only when there is nothing else to do."""
        patience = None if self._engine.lanes == 0 else 0
        while said := self._said_by.poll(patience):
            for fd, _ in said:
                if fd == self._bell:
                    os.read(fd, 4096)
                else:
                    self._obey(self._receive())
            patience = 0

    def _obey(self, message: ToWorker) -> None:
        match message:
            case Run(job):
                self._engine.submit(job)
            case Cancel(job_id):
                self._engine.cancel(job_id)

    def _receive(self) -> ToWorker:
        try:
            message: ToWorker = self._connection.recv()
        except (EOFError, OSError):
            os._exit(0)  # the server is gone, and nobody waits for anything here
        return message

    def _wake(self) -> None:
        os.write(self._rope, b"!")

    def _settled(self, model: str) -> bool:
        """Begins to load a model; true once it is resident, or could not be loaded."""
        try:
            return self._pool.get(model) is not None
        except ModelUnavailable as error:
            log.error("%s", error)
            return True

    def _say_state(self) -> None:
        state = State(
            resident=self._pool.resident,
            loading=self._pool.loading,
            lanes=self._engine.lanes,
            ready=not self._preloading,
        )
        if state != self._said:
            self._said = state
            self._connection.send(state)

    def _report(self, job_id: str, outcome: Image | Preview | JobError) -> None:
        match outcome:
            case Image(width, height, pixels, seconds):
                self._connection.send(Finished(job_id, width, height, seconds))
                self._connection.send_bytes(pixels)
            case Preview(index, image):
                self._connection.send(Shown(job_id, index, image.width, image.height))
                self._connection.send_bytes(image.pixels)
            case JobError():
                self._connection.send(Failed(job_id, outcome))


def _assemble(
    begin: Begin, report: "Report", wake: Callable[[], None]
) -> tuple["Pool[Resident]", "Engine"]:
    from pipelines.engine import Engine
    from pipelines.loader import load
    from pipelines.memory import Memory
    from pipelines.policy import Policy
    from pipelines.pool import Pool
    from pipelines.stopwatch import stopwatch

    memory = Memory(PROMPTS_KEPT)
    pool = Pool(lambda model: load(*begin.models[model], begin.device, memory), wake)
    return pool, Engine(pool, Policy(), stopwatch(begin.device), report)


def _own_device(begin: Begin) -> tuple[Begin, Hello]:
    """Settle `auto`, and set what belongs to the process: threads, grad mode, current device."""
    import torch

    cuda = [f"cuda:{n}" for n in range(torch.cuda.device_count())]
    device, *others = [begin.device] if begin.device != "auto" else cuda or ["cpu"]
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    if begin.threads:
        torch.set_num_threads(begin.threads)
    torch.set_grad_enabled(False)
    return replace(begin, device=device), Hello(device, others)


def main(fd: int) -> None:
    """Hear `Begin`, answer `Hello`, work until the server is gone."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    connection = Connection(fd)
    begin, hello = _own_device(connection.recv())
    connection.send(hello)
    _quiet_libraries()
    Worker(connection, begin).run()


def _quiet_libraries() -> None:
    import diffusers
    import transformers

    diffusers.utils.logging.set_verbosity_error()
    transformers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()


if __name__ == "__main__":
    main(int(sys.argv[1]))
