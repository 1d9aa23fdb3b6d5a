"""The aide's process as the server sees it: asked, watched, and started again when it dies.

Knows questions and answers by their ids, on one event loop; not what they are about.
"""

import asyncio
import logging
import os
from itertools import count

from pipelines.content import usable
from pipelines.questions import (
    Answer,
    Answered,
    Ask,
    Drop,
    Equip,
    FromAide,
    Question,
    Ready,
    Unanswered,
)
from pipelines.registry import Registry
from pipelines.wording import LocalRewriter
from server.config import Config
from server.fleet.device import SET_ASIDE_AFTER, SET_ASIDE_S
from server.fleet.process import ChildProcess
from server.fleet.status import AideStatus, State

HANGS_AFTER_S = 30.0
"""It says of every question what became of it; so long after it was of no more use, it hangs."""

PROMPTS = "prompts"
"""What its classifier of prompts is called."""

log = logging.getLogger(__name__)


class NoAnswer(Exception):
    """A question that was not answered; `late` if its time was over."""

    def __init__(self, why: str, late: bool = False) -> None:
        super().__init__(why)
        self.late = late


def equipment(config: Config, registry: Registry) -> Equip | None:
    """What the server's aide shall have; None where there is nothing for it."""
    rewriter, policy = registry.rewriter, registry.policy
    prompts, viewer = usable(policy.prompts), usable(policy.images)
    judges = {PROMPTS: prompts.folder} if prompts else {}
    threads = max(1, (os.cpu_count() or 1) // 2)
    if isinstance(rewriter, LocalRewriter) and rewriter.installed:
        return Equip(rewriter.device or config.devices[0], rewriter.folder, judges, viewer, threads)
    # A small model alone is not worth what a process takes of a GPU.
    if not (judges or viewer):
        return None
    return Equip("cpu", judges=judges, viewer=viewer, threads=threads)


def aide_for(config: Config, registry: Registry) -> "Aide | None":
    """The server's aide, not yet started, where there is something for it."""
    equip = equipment(config, registry)
    return Aide(equip) if equip else None


class Aide:
    """One process, and the questions that it has."""

    def __init__(self, equip: Equip) -> None:
        self._equip = equip
        self._process: ChildProcess | None = None
        self._numbers = count()
        self._asked: dict[str, asyncio.Future[Answer]] = {}
        self._dropped: set[str] = set()
        self._ready: dict[str, bool] = {}
        """The models that have been read, and those that could not be."""
        self._deaths = self._deaths_in_a_row = self._answered = 0
        self._over = False
        self._gone = asyncio.Event()

    def start(self) -> None:
        """Start the process; it reads its models while it may already be asked."""
        if self._over:
            return
        try:
            self._process = ChildProcess(
                "pipelines.aide.aide",
                self._equip,
                lambda message, _: self._hear(message),
                self._ended,
            )
        except OSError as error:
            log.error("the aide could not be started: %s", error)
            self._ended()

    async def stop(self) -> None:
        """End the process at once, for good."""
        self._over = True
        if self._process is not None:
            self._process.kill()
            await self._gone.wait()

    async def ask(self, question: Question, within_s: float) -> Answer:
        """The answer, waited for no longer than so; a caller that is cancelled takes it back.

        Raises NoAnswer.
        """
        if self._process is None:
            raise NoAnswer("the aide is being started again")
        id = str(next(self._numbers))
        future = asyncio.get_running_loop().create_future()
        self._asked[id] = future
        self._process.send(Ask(id, question, within_s))
        try:
            async with asyncio.timeout(within_s):
                answer: Answer = await future
                return answer
        except TimeoutError:
            raise NoAnswer(f"no answer within {within_s:g} s", late=True) from None
        finally:
            if self._asked.pop(id, None) is not None:
                self._drop(id)

    def status(self) -> AideStatus:
        """How it is at this moment."""
        return AideStatus(
            device=self._equip.device,
            pid=self._process.pid if self._process else None,
            state=self._state,
            ready=[name for name, whole in self._ready.items() if whole],
            broken=[name for name, whole in self._ready.items() if not whole],
            waiting=len(self._asked),
            answered=self._answered,
            deaths=self._deaths,
        )

    @property
    def _state(self) -> State:
        if self._process is None:
            return "set aside" if self._deaths_in_a_row >= SET_ASIDE_AFTER else "restarting"
        singles = (self._equip.writer, self._equip.viewer)
        there = len(self._equip.judges) + sum(it is not None for it in singles)
        return "ready" if len(self._ready) == there else "loading"

    def _hear(self, message: FromAide) -> None:
        match message:
            case Ready(name, broken):
                self._ready[name] = broken is None
            case Answered(id, answer):
                self._answered += 1
                self._deaths_in_a_row = 0
                self._settle(id, answer)
            case Unanswered(id, why, late):
                self._settle(id, NoAnswer(why, late))

    def _settle(self, id: str, outcome: Answer | NoAnswer) -> None:
        self._dropped.discard(id)
        future = self._asked.pop(id, None)
        if future is None or future.done():
            return
        if isinstance(outcome, NoAnswer):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    def _drop(self, id: str) -> None:
        if self._process is not None:
            self._dropped.add(id)
            self._process.send(Drop(id))
            loop = asyncio.get_running_loop()
            loop.call_later(HANGS_AFTER_S, self._look_after, id, self._process)

    def _look_after(self, id: str, process: ChildProcess) -> None:
        """It should have said long ago that it let go of this question."""
        if id in self._dropped and process is self._process and self._state == "ready":
            log.error("the aide hangs, and is ended")
            process.kill()

    def _ended(self) -> None:
        self._process = None
        self._ready.clear()
        self._dropped.clear()
        for id in list(self._asked):
            self._settle(id, NoAnswer("the aide died"))
        if self._over:
            return self._gone.set()
        self._deaths += 1
        self._deaths_in_a_row += 1
        aside = self._deaths_in_a_row >= SET_ASIDE_AFTER
        delay = SET_ASIDE_S if aside else 0.1 * 2 ** (self._deaths_in_a_row - 1)
        log.error("the aide died; another starts in %.1f s", delay)
        asyncio.get_running_loop().call_later(delay, self.start)
