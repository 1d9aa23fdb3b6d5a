"""The aide's process as the server sees it: asked, watched, and started again when it dies.

Knows questions and answers by their ids, on one event loop; not what they are about.
"""

import asyncio
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
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
    desk_of,
)
from pipelines.registry import Registry
from pipelines.wording import LocalRewriter
from server.config import Config
from server.fleet.device import SET_ASIDE_AFTER, SET_ASIDE_S
from server.fleet.process import ChildProcess, Death
from server.fleet.quarantine import Quarantine
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


@dataclass(eq=False, slots=True)
class _Asked:
    """A question that is not answered yet."""

    id: str
    question: Question
    deadline: float
    future: asyncio.Future[Answer]
    arrived: float
    interactive: bool = False


class Aide:
    """One process, and the questions that it has.

    A question is asked again when the process dies, within its time. Those that were being answered
    are asked in quarantine, as jobs are run.
    """

    def __init__(self, equip: Equip) -> None:
        self._equip = equip
        self._process: ChildProcess | None = None
        self._numbers = count()
        self._asked: dict[str, _Asked] = {}
        self._sent: dict[str, None] = {}
        """The ids of those that the present process has, in their order."""
        self._quarantine = Quarantine[_Asked]()
        self._hung = False
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
            return self._ended()
        self._send_waiting()

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
        if self._process is None and self._deaths_in_a_row >= SET_ASIDE_AFTER:
            raise NoAnswer("the aide is being started again")
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        now = time.monotonic()
        asked = _Asked(str(next(self._numbers)), question, now + within_s, future, now)
        self._asked[asked.id] = asked
        self._send_waiting()
        try:
            async with asyncio.timeout(within_s):
                return await future
        except TimeoutError:
            raise NoAnswer(f"no answer within {within_s:g} s", late=True) from None
        finally:
            if self._asked.pop(asked.id, None) is not None:
                self._quarantine.clear(asked, made=False, now=time.monotonic())
                self._drop(asked.id)

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
        self._sent.pop(id, None)
        asked = self._asked.pop(id, None)
        if asked is not None:
            answered = not isinstance(outcome, NoAnswer)
            self._quarantine.clear(asked, made=answered, now=time.monotonic())
            if asked.future.done():
                pass
            elif isinstance(outcome, NoAnswer):
                asked.future.set_exception(outcome)
            else:
                asked.future.set_result(outcome)
        self._send_waiting()

    def _send_waiting(self) -> None:
        """Ask what the process does not have yet: first suspects, with nothing else beside them."""
        if self._process is None:
            return
        if len(self._quarantine):
            if self._sent:
                return  # what is being answered ends first
            for asked in self._quarantine.take("aide", lambda _: ["aide"]):
                self._send(asked)
            return
        for asked in list(self._asked.values()):
            if asked.id not in self._sent:
                self._send(asked)

    def _send(self, asked: _Asked) -> None:
        if self._process is not None:
            self._sent[asked.id] = None
            left_s = max(0.0, asked.deadline - time.monotonic())
            self._process.send(Ask(asked.id, asked.question, left_s))

    def _drop(self, id: str) -> None:
        if self._process is not None and id in self._sent:
            self._dropped.add(id)
            self._process.send(Drop(id))
            loop = asyncio.get_running_loop()
            loop.call_later(HANGS_AFTER_S, self._look_after, id, self._process)

    def _look_after(self, id: str, process: ChildProcess) -> None:
        """It should have said long ago that it let go of this question."""
        if id in self._dropped and process is self._process and self._state == "ready":
            log.error("the aide hangs, and is ended")
            self._hung = True
            process.kill()

    def _ended(self) -> None:
        death = Death(self._process.returncode if self._process else 1, self._hung)
        if self._process is not None:
            self._suspect(death)
        self._process, self._hung = None, False
        self._ready.clear()
        self._dropped.clear()
        self._sent.clear()
        self._deaths += 1
        self._deaths_in_a_row += 1
        aside = self._deaths_in_a_row >= SET_ASIDE_AFTER
        if aside or self._over:
            for id in list(self._asked):
                self._settle(id, NoAnswer("the aide died"))
        if self._over:
            return self._gone.set()
        delay = SET_ASIDE_S if aside else 0.1 * 2 ** (self._deaths_in_a_row - 1)
        log.error("the aide died (%s); another starts in %.1f s", death, delay)
        asyncio.get_running_loop().call_later(delay, self.start)

    def _suspect(self, death: Death) -> None:
        """What was being answered waits in quarantine; one that is guilty is not asked again."""
        running = list(self._running())
        suspects = [self._asked[id] for id in self._sent if id in self._asked]
        self._quarantine.put_back(
            [each for each in suspects if each in self._quarantine and each not in running]
        )
        now, others = time.monotonic(), len(self._dropped)
        if running:
            guilty = self._quarantine.add_death(running, "aide", death.from_outside, now, others)
            if guilty is not None:
                self._settle(guilty.id, NoAnswer("the aide died each time it was asked this alone"))

    def _running(self) -> Iterator[_Asked]:
        """The first question of each model that has been read: each answers in their order."""
        seen = set[str]()
        for id in self._sent:
            if (asked := self._asked.get(id)) is None:
                continue
            model = desk_of(asked.question)
            if model not in seen and self._ready.get(model):
                yield asked
            seen.add(model)
