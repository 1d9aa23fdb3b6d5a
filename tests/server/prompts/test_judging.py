"""Prompts before the aide's classifier: asked together, told one by one, refused with no answer."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import ClassVar

import pytest
import yaml

from pipelines.content import Classifier
from pipelines.questions import Answer, Equip, Judge, Judged, Look, Looked, Question, Seen
from pipelines.registry import Registry
from server.config import Config
from server.fleet.aide import PROMPTS, Aide, NoAnswer, equipment
from server.prompts import judging
from server.prompts.judging import (
    MOST_CHARACTERS,
    MOST_TOGETHER,
    PictureJudge,
    PromptJudge,
    judge_for,
    picture_judge_for,
)
from server.refusals import NotJudged
from tests.tiny_judges import RED, redness
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
        await asyncio.wait_for(story(aide, PromptJudge(aide)), 60)  # type: ignore[arg-type]

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


def test_who_asks_for_much_holds_up_nobody_who_asks_for_little() -> None:
    async def story(aide: FakeAide, judge: PromptJudge) -> None:
        much = await asking(judge, *["x" * 32_000] * 100)
        little = await asking(judge, "fine")
        aide.may.set()
        assert await little == [{"length": 4}]
        assert ("fine",) in aide.asked[:3]
        assert await much == [{"length": 32_000}] * 100
        assert all(sum(map(len, texts)) <= MOST_CHARACTERS for texts in aide.asked)

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


def test_of_a_request_that_is_refused_nothing_more_is_asked() -> None:
    async def story(aide: FakeAide, judge: PromptJudge) -> None:
        aide.broken = True
        much = await asking(judge, *["x" * 32_000] * 100)
        aide.may.set()
        with pytest.raises(NotJudged):
            await much
        aide.broken = False
        assert await judge(["a"]) == [{"length": 1}]
        assert [len(texts[0]) for texts in aide.asked] == [32_000, 1]

    told(story)


def test_a_request_is_told_in_time_that_its_turn_does_not_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(judging, "WITHIN_S", 0.05)

    async def story(aide: FakeAide, judge: PromptJudge) -> None:
        first, behind = await asking(judge, "a"), await asking(judge, "b")
        for task in (first, behind):
            with pytest.raises(NotJudged):
                await task
        aide.may.set()
        assert await judge(["c"]) == [{"length": 1}]
        assert aide.asked == [("a",), ("c",)]

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


def test_an_aide_has_the_classifier_of_images_too(tmp_path: Path, config: Config) -> None:
    said = {"source": "judge", "labels": {RED: "sexual"}}
    weights = tmp_path / "weights.yaml"
    weights.write_text(yaml.safe_dump({"policy": {"mode": "off", "images": said}}))
    assert equipment(config, Registry(weights, tmp_path)) is None
    folder = redness(tmp_path / "judge")
    found = equipment(config, Registry(weights, tmp_path))
    assert found and (found.device, found.judges) == ("cpu", {})
    assert found.viewer and found.viewer.folder == folder


async def is_ready(aide: Aide) -> None:
    """Wait until a real process has read its models, on a busy machine as well."""
    async with asyncio.timeout(120):
        while aide.status().state != "ready":
            await asyncio.sleep(0.01)


def test_a_real_aide_looks(tmp_path: Path) -> None:
    async def story() -> None:
        viewer = Classifier("it", redness(tmp_path), {RED: "sexual"})
        aide = Aide(Equip("cpu", viewer=viewer, threads=1))
        aide.start()
        try:
            await is_ready(aide)
            look = PictureJudge(aide)
            red, blue = await look([Seen(8, 8, b"\xff\0\0" * 64), Seen(8, 8, b"\0\0\xff" * 64)])
            assert red["sexual"] > 0.9 > 0.1 > blue["sexual"]
            assert (aide.status().state, aide.status().ready) == ("ready", ["viewer"])
        finally:
            await asyncio.wait_for(aide.stop(), 60)
        with pytest.raises(NotJudged):
            await look([Seen(1, 1, bytes(3))])

    asyncio.run(story())


def test_pictures_of_several_who_ask_are_looked_at_in_turn() -> None:
    class Aide:
        seen: ClassVar[list[int]] = []

        async def ask(self, question: Look, within_s: float) -> Answer:
            self.seen.append(question.picture.width)
            await asyncio.sleep(0)
            return Looked({"sexual": question.picture.width / 10})

    async def story() -> None:
        judge = PictureJudge(Aide())  # type: ignore[arg-type]
        much = asyncio.ensure_future(judge([Seen(1, 1, b"")] * 5))
        await asyncio.sleep(0)
        assert await judge([Seen(2, 1, b"")]) == [{"sexual": 0.2}]
        assert Aide.seen.index(2) <= 2 and not much.done()
        assert await much == [{"sexual": 0.1}] * 5

    asyncio.run(asyncio.wait_for(story(), 60))


def test_a_picture_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor its turn, behind one whose answer does not come."""
    monkeypatch.setattr(judging, "WITHIN_S", 0.05)

    class Silent:
        asked = 0

        async def ask(self, question: Look, within_s: float) -> Answer:
            self.asked += 1
            await asyncio.sleep(60)
            raise AssertionError

    async def story() -> None:
        aide = Silent()
        judge = PictureJudge(aide)  # type: ignore[arg-type]
        several = [judge([Seen(1, 1, b"")]) for _ in range(100)]
        outcomes = await asyncio.gather(*several, return_exceptions=True)
        assert {type(it) for it in outcomes} == {NotJudged}
        assert aide.asked < len(several)

    asyncio.run(asyncio.wait_for(story(), 50))


def test_what_is_not_installed_judges_nothing(tmp_path: Path) -> None:
    images = {"source": "judge", "labels": {RED: "sexual"}}
    prompts = {"source": "reader", "labels": {TOXIC: "harassment"}}
    said = {"mode": "off", "images": images, "prompts": prompts}
    weights = tmp_path / "weights.yaml"
    weights.write_text(yaml.safe_dump({"policy": said}))
    registry, aide = Registry(weights, tmp_path), Aide(Equip("cpu"))
    assert judge_for(registry, aide) is None
    assert picture_judge_for(registry, aide) is None
    reader(tmp_path / "reader")
    assert judge_for(registry, aide) is not None
    redness(tmp_path / "judge")
    assert picture_judge_for(registry, aide) is not None
    assert picture_judge_for(registry, None) is None


def test_a_real_aide_judges(tmp_path: Path) -> None:
    async def story() -> None:
        aide = Aide(Equip("cpu", judges={PROMPTS: reader(tmp_path)}, threads=1))
        aide.start()
        try:
            await is_ready(aide)
            judge = PromptJudge(aide)
            bad, good = await asyncio.gather(judge([f"an {FORBIDDEN}"]), judge(["a star"]))
            assert good[0][TOXIC] < 0.1 < 0.9 < bad[0][TOXIC]
        finally:
            await asyncio.wait_for(aide.stop(), 60)

    asyncio.run(story())
