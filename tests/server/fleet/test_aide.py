"""The aide with a real process and a tiny language model: asked, late, killed, broken."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest

from pipelines.questions import (
    Answered,
    Ask,
    Drop,
    Equip,
    Judge,
    Ready,
    Turn,
    Write,
    Written,
)
from server.fleet import aide as aides
from server.fleet.aide import Aide, NoAnswer
from server.fleet.device import SET_ASIDE_AFTER
from tests.tiny_writer import SENTENCE, writer

SHORT = Write((Turn("user", "go on"),), 64)
FOREVER = Write((Turn("user", "go on"),), 1_000_000)
"""To a model that says the same again and again."""


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return writer(tmp_path_factory.mktemp("endless"), endless=True)


def with_aide(equip: Equip, story: Callable[[Aide], Awaitable[None]]) -> None:
    async def run() -> None:
        aide = Aide(equip)
        aide.start()
        try:
            await story(aide)
        finally:
            await asyncio.wait_for(aide.stop(), 60)

    asyncio.run(run())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not condition():
            await asyncio.sleep(0.01)


async def text(aide: Aide, max_tokens: int) -> str:
    answer = await aide.ask(Write(SHORT.turns, max_tokens), 240)
    assert isinstance(answer, Written)
    return answer.text


def test_an_aides_life(endless: Path) -> None:
    """One start serves them all: starting a process takes longer than everything else here."""

    async def story(aide: Aide) -> None:
        assert aide.status().state == "loading"
        assert await text(aide, 3) == "A large red"  # asked before the model was there
        await until(lambda: aide.status().state == "ready")
        assert aide.status().ready == ["writer"]
        assert aide.status().answered == 1
        await check_late(aide)
        await check_cancelled(aide)
        await check_nobody_to_ask(aide)
        await check_killed(aide)
        await check_hanging(aide)

    with_aide(Equip("cpu", writer=endless, threads=1), story)


async def check_late(aide: Aide) -> None:
    """What takes too long is given up: the next question would wait for it forever."""
    with pytest.raises(NoAnswer) as late:
        await aide.ask(FOREVER, 0.2)
    assert late.value.late
    assert await text(aide, 1) == "A"


async def check_cancelled(aide: Aide) -> None:
    question = asyncio.create_task(aide.ask(FOREVER, 600))
    waiting = asyncio.create_task(aide.ask(FOREVER, 600))
    await until(lambda: aide.status().waiting == 2)
    question.cancel()
    waiting.cancel()
    assert await text(aide, 2) == "A large"
    assert aide.status().waiting == 0


async def check_nobody_to_ask(aide: Aide) -> None:
    with pytest.raises(NoAnswer, match="there is no judge it"):
        await aide.ask(Judge("it", ("a fox",)), 60)
    long = Write((Turn("user", "go " * 9000),), 5)
    with pytest.raises(NoAnswer, match="too long"):
        await aide.ask(long, 60)
    assert await text(aide, 1) == "A"


async def check_killed(aide: Aide) -> None:
    """Another process takes its place, and is asked what the dead one was."""
    running = asyncio.create_task(aide.ask(FOREVER, 600))
    waiting = [asyncio.create_task(aide.ask(Write(SHORT.turns, n), 600)) for n in (1, 2)]
    await until(lambda: aide.status().waiting == 3)
    killed = aide.status().pid
    assert killed
    os.kill(killed, signal.SIGKILL)
    await until(lambda: aide.status().pid not in (None, killed))
    await until(lambda: aide.status().state == "ready")
    assert not running.done() and aide.status().waiting == 3
    running.cancel()
    answers = await asyncio.gather(*waiting)
    assert answers == [Written("A"), Written("A large")]
    assert aide.status().deaths == 1


async def check_hanging(aide: Aide) -> None:
    """One that says nothing more of a question that was taken back is ended."""
    await until(lambda: aide.status().state == "ready")
    stopped = psutil.Process(aide.status().pid)
    stopped.suspend()
    aides_patience, aides.HANGS_AFTER_S = aides.HANGS_AFTER_S, 0.1
    try:
        with pytest.raises(NoAnswer):
            await aide.ask(SHORT, 0.1)
        await until(lambda: aide.status().deaths == 2)
    finally:
        aides.HANGS_AFTER_S = aides_patience
    await until(lambda: aide.status().pid is not None)
    assert await text(aide, 1) == "A"


def test_a_model_that_cannot_be_read_is_told_of_and_not_tried_again(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")

    async def story(aide: Aide) -> None:
        with pytest.raises(NoAnswer, match="the writer could not be loaded"):
            await aide.ask(SHORT, 60)
        assert (aide.status().state, aide.status().broken) == ("ready", ["writer"])
        assert aide.status().deaths == 0

    with_aide(Equip("cpu", writer=tmp_path), story)


class _Scripted:
    """In the place of the aide's process: has what it was asked, and dies when it is told to."""

    here: ClassVar["_Scripted"]
    pid, returncode = 4711, 1

    def __init__(self, module: str, equip: Equip, hear: Any, ended: Any) -> None:
        type(self).here = self
        self.hear, self.ended = hear, ended
        self.asked: dict[str, Write] = {}
        asyncio.get_running_loop().call_soon(hear, Ready("writer"), b"")

    def send(self, message: Ask | Drop) -> None:
        if isinstance(message, Ask):
            assert isinstance(message.question, Write)
            self.asked[message.id] = message.question
        else:
            self.asked.pop(message.id, None)

    def answer(self) -> None:
        """In their order, until one that kills it."""
        for id, question in list(self.asked.items()):
            if question.max_tokens == KILLS:
                return self.ended()
            del self.asked[id]
            self.hear(Answered(id, Written(str(question.max_tokens))), b"")

    def kill(self) -> None:
        self.ended()


KILLS = 666


def test_a_question_that_kills_is_the_only_one_without_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(aides, "ChildProcess", _Scripted)

    async def story(aide: Aide) -> None:
        numbers = [1, 2, KILLS, 3, 4]
        tasks = [asyncio.create_task(aide.ask(Write((), n), 60)) for n in numbers]
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0.01)
            if aide.status().state == "ready":
                _Scripted.here.answer()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(outcomes.pop(2), NoAnswer)
        assert outcomes == [Written(str(n)) for n in (1, 2, 3, 4)]
        assert aide.status().deaths == 2

    with_aide(Equip("cpu", writer=Path("nowhere")), story)


def test_with_the_aide_disabled_nobody_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aides, "ChildProcess", _Scripted)

    async def story(aide: Aide) -> None:
        task = asyncio.create_task(aide.ask(Write((), 1), 60))
        for deaths in range(1, SET_ASIDE_AFTER + 1):
            await until(lambda: aide.status().pid is not None)
            assert not task.done()
            aide._ready.clear()  # it dies while it reads its model
            _Scripted.here.ended()
            assert aide.status().deaths == deaths
        with pytest.raises(NoAnswer, match="died"):
            await task
        with pytest.raises(NoAnswer, match="started again"):
            await aide.ask(Write((), 1), 60)
        aide._process = _Scripted.here  # type: ignore[assignment]  # to be ended by `stop`

    with_aide(Equip("cpu", writer=Path("nowhere")), story)


def test_equal_questions_have_equal_answers(tmp_path: Path) -> None:
    async def story(aide: Aide) -> None:
        answers = await asyncio.gather(*(aide.ask(SHORT, 60) for _ in range(5)))
        assert answers == [Written(SENTENCE)] * 5

    with_aide(Equip("cpu", writer=writer(tmp_path)), story)
