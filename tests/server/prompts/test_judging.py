"""Prompts before the aide's classifier: asked together, told one by one, refused with no answer."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import yaml

from pipelines.questions import Answer, Equip, Judge, Judged, Question
from pipelines.registry import Registry
from server.config import Config
from server.fleet.aide import PROMPTS, Aide, NoAnswer, equipment
from server.prompts.judging import MOST_TOGETHER, PromptJudge
from server.refusals import NotJudged
from tests.tiny_reader import FORBIDDEN, TOXIC, reader


class FakeAide:
    """Scores a text by its length, as soon as it may."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.may = asyncio.Event()
        self.broken = False

    async def ask(self, question: Question, within_s: float) -> Answer:
        assert isinstance(question, Judge) and question.judge == PROMPTS
        self.asked.append(question.texts)
        await self.may.wait()
        if self.broken:
            raise NoAnswer("no")
        return Judged(tuple({"length": len(text)} for text in question.texts))


def told(story: Callable[[FakeAide, PromptJudge], Awaitable[None]]) -> None:
    async def run() -> None:
        aide = FakeAide()
        await asyncio.wait_for(story(aide, PromptJudge(aide)), 20)  # type: ignore[arg-type]

    asyncio.run(run())


async def asking(judge: PromptJudge, *texts: str) -> asyncio.Task[object]:
    task: asyncio.Task[object] = asyncio.ensure_future(judge(texts))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return task


def test_what_nobody_foresaw_is_told_and_the_next_is_asked_as_ever() -> None:
    async def story(aide: FakeAide, judge: PromptJudge) -> None:
        good = aide.ask

        async def too_few(question: Question, within_s: float) -> Answer:
            return Judged(())

        aide.may.set()
        aide.ask = too_few  # type: ignore[method-assign]
        with pytest.raises(ValueError):
            await judge(["a"])
        aide.ask = good  # type: ignore[method-assign]
        assert await judge(["a"]) == [{"length": 1}]

    told(story)


def test_what_waits_is_asked_together_and_each_is_told_its_own() -> None:
    async def story(aide: FakeAide, judge: PromptJudge) -> None:
        first = await asking(judge, "a")
        others = [await asking(judge, "b" * n, "c") for n in range(2, 5)]
        aide.may.set()
        assert await first == [{"length": 1}]
        assert [await it for it in others] == [[{"length": n}, {"length": 1}] for n in range(2, 5)]
        assert [len(texts) for texts in aide.asked] == [1, 6]
        assert await judge(["later"]) == [{"length": 5}]

    told(story)


def test_a_question_has_only_so_many_texts() -> None:
    async def story(aide: FakeAide, judge: PromptJudge) -> None:
        aide.may.set()
        texts = ["x" * n for n in range(MOST_TOGETHER * 2 + 1)]
        assert await judge(texts) == [{"length": n} for n in range(len(texts))]
        assert [len(it) for it in aide.asked] == [MOST_TOGETHER, MOST_TOGETHER, 1]

    told(story)


def test_who_does_not_wait_any_more_is_not_asked_for() -> None:
    async def story(aide: FakeAide, judge: PromptJudge) -> None:
        first, gone = await asking(judge, "a"), await asking(judge, "gone")
        last = await asking(judge, "last")
        gone.cancel()
        await asyncio.sleep(0)
        aide.may.set()
        await asyncio.gather(first, last)
        assert aide.asked == [("a",), ("last",)]

    told(story)


def test_no_answer_is_told_to_all_who_asked_and_to_nobody_else() -> None:
    async def story(aide: FakeAide, judge: PromptJudge) -> None:
        aide.broken = True
        first, second = await asking(judge, "a"), await asking(judge, "b", "c")
        aide.may.set()
        for task in (first, second):
            with pytest.raises(NotJudged):
                await task
        aide.broken = False
        assert await judge(["d"]) == [{"length": 1}]

    told(story)


def test_an_aide_has_the_classifier_that_is_installed(tmp_path: Path, config: Config) -> None:
    said = {"source": "reader", "labels": {TOXIC: "harassment"}}
    weights = tmp_path / "weights.yaml"
    weights.write_text(yaml.safe_dump({"policy": {"mode": "off", "prompts": said}}))
    assert equipment(config, Registry(weights, tmp_path)) is None
    folder = reader(tmp_path / "reader")
    found = equipment(config, Registry(weights, tmp_path))
    assert found and (found.device, found.writer) == ("cpu", None)
    assert found.judges == {PROMPTS: folder}


def test_a_real_aide_judges(tmp_path: Path) -> None:
    async def story() -> None:
        aide = Aide(Equip("cpu", judges={PROMPTS: reader(tmp_path)}, threads=1))
        aide.start()
        try:
            judge = PromptJudge(aide)
            bad, good = await asyncio.gather(judge([f"an {FORBIDDEN}"]), judge(["a star"]))
            assert good[0][TOXIC] < 0.1 < 0.9 < bad[0][TOXIC]
        finally:
            await asyncio.wait_for(aide.stop(), 20)

    asyncio.run(story())
