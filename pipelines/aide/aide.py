"""The process beside the workers that is asked about texts and pictures: no lane waits for it.

`python -m pipelines.aide.aide FD` is started by the server with one end of a socket pair, and ends
when the server's end closes. Every model of it has a thread of its own, so that a short question
does not wait for another model's long answer; what is asked of one model is answered in its order.
"""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Lock, Thread

from pipelines.models.budgets import settle
from pipelines.models.equipment import bytes_taken
from pipelines.questions import (
    VIEWER,
    Answer,
    Answered,
    Ask,
    Drop,
    Equip,
    FromAide,
    Judge,
    Over,
    Question,
    Ready,
    ToAide,
    Tool,
    Unanswered,
    Write,
    desk_of,
)

log = logging.getLogger(__name__)

Make = Callable[[], Tool]


def tools_of(equip: Equip, device: str) -> Iterator[tuple[str, Make]]:
    """Each model of an aide: its name, and what reads it. Another kind of question adds its own.

    Judges come first: without them nothing is made, without a writer everything is.
    """
    for name, folder in equip.judges.items():
        from pipelines.aide.judging import Classifier

        yield desk_of(Judge(name, ())), partial(Classifier, folder, device)
    if equip.writer is not None:
        from pipelines.aide.writing import Writer

        yield desk_of(Write((), 0)), partial(Writer, equip.writer, device)
    if equip.viewer is not None:
        from pipelines.aide.looking import Looking

        yield VIEWER, partial(Looking, equip.viewer, device)


class Desk:
    """One model, and the questions that wait for it.

    `reading` is held by who reads its model: the library imports its parts when they are first
    named, and two threads that do so at once find each other's halves.
    """

    def __init__(
        self, name: str, make: Make, say: Callable[[FromAide], None], reading: Lock
    ) -> None:
        self._name, self._make, self._say, self._reading = name, make, say, reading
        self._waiting: SimpleQueue[tuple[Ask, float]] = SimpleQueue()
        self._wanted: set[str] = set()
        Thread(target=self._work, name=name, daemon=True).start()

    def ask(self, ask: Ask) -> None:
        """Have a question answered; its time begins now."""
        self._wanted.add(ask.id)
        self._waiting.put((ask, time.monotonic() + ask.within_s))

    def drop(self, id: str) -> None:
        """Stop writing the answer to a question, or never begin."""
        self._wanted.discard(id)

    def _work(self) -> None:
        import torch

        torch.set_grad_enabled(False)  # of this thread
        try:
            with self._reading:
                tool = self._make()
            self._say(Ready(self._name))
        except Exception as error:  # whatever a broken folder makes the library raise
            log.error("the %s could not be loaded: %s", self._name, error)
            tool = _Broken(f"the {self._name} could not be loaded")
            self._say(Ready(self._name, broken=str(error)))
        while True:
            ask, deadline = self._waiting.get()
            self._answer(tool, ask, deadline)
            self._wanted.discard(ask.id)

    def _answer(self, tool: Tool, ask: Ask, deadline: float) -> None:
        def over() -> bool:
            return ask.id not in self._wanted or time.monotonic() > deadline

        if over():
            return self._say(Unanswered(ask.id, "too late", late=True))
        try:
            answer = tool.answer(ask.question, over)
        except Exception as error:
            _end_if_lost(error)
            return self._say(Unanswered(ask.id, f"{type(error).__name__}: {error}"))
        self._say(Unanswered(ask.id, "too late", late=True) if over() else Answered(ask.id, answer))


class _Broken:
    """In the place of a model that could not be read."""

    def __init__(self, why: str) -> None:
        self._why = why

    def answer(self, question: Question, over: Over) -> Answer:
        raise RuntimeError(self._why)


class Aide:
    """The models, and the connection that their questions come from."""

    def __init__(self, connection: Connection, equip: Equip, device: str) -> None:
        self._connection = connection
        self._lock = Lock()
        reading = Lock()
        self._desks = {
            name: Desk(name, make, self._say, reading) for name, make in tools_of(equip, device)
        }

    def run(self) -> None:
        """Until the process ends: hear, and hand on."""
        while True:
            match self._receive():
                case Ask() as ask:
                    self._hand_on(ask)
                case Drop(id):
                    for desk in self._desks.values():
                        desk.drop(id)

    def _hand_on(self, ask: Ask) -> None:
        desk = self._desks.get(desk_of(ask.question))
        if desk is None:
            self._say(Unanswered(ask.id, f"there is no {desk_of(ask.question)}"))
        else:
            desk.ask(ask)

    def _receive(self) -> ToAide:
        try:
            message: ToAide = self._connection.recv()
        except (EOFError, OSError):
            os._exit(0)  # the server is gone, and nobody waits for anything here
        return message

    def _say(self, message: FromAide) -> None:
        with self._lock:
            self._connection.send(message)


def _end_if_lost(error: Exception) -> None:
    """A device that answers nothing more in this process needs another one."""
    from pipelines.scheduling.trouble import is_device_lost

    if is_device_lost(error):
        log.error("the device is lost: %s", error)
        os._exit(1)


def _own_device(equip: Equip) -> str:
    """Settle `auto`, and set what belongs to the process: threads, current device, its memory."""
    import torch

    device, *_ = settle(equip.device)
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
        whole = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, bytes_taken(equip, device) / whole))
    if equip.threads:
        torch.set_num_threads(equip.threads)
    return device


def main(fd: int) -> None:
    """Hear `Equip`, say what is `Ready`, answer until the server is gone."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    connection = Connection(fd)
    equip: Equip = connection.recv()
    Aide(connection, equip, _own_device(equip)).run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
