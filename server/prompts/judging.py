"""The aide's classifiers of prompts and of pictures, as the content policy asks them.

What is asked while it is busy is asked together as soon as it is not. Knows the aide; not what its
scores mean.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.content import Category, usable
from pipelines.questions import Judge, Judged, Look, Looked, Seen
from pipelines.registry import Registry
from server.fleet.aide import PROMPTS, Aide, NoAnswer
from server.prompts.policy import Scores
from server.refusals import NotJudged

WITHIN_S = 20.0
"""How long the judgement of a text, or of a decoded picture, is waited for, what others ask before
it included; a request with several waits so long for each."""
MOST_TOGETHER = 32
MOST_CHARACTERS = 32_000
"""Of the texts of a question, unless one alone has more: a long one takes seconds on a CPU."""


@dataclass(slots=True)
class _Call:
    """The texts of one who asks."""

    texts: Sequence[str]
    scores: asyncio.Future[Sequence[Scores]]
    """Of all of them; done as soon as nobody waits for it any more, or nothing will come of it."""
    asked: int = 0
    """So many of them, from the first on."""
    read: list[Scores] = field(default_factory=list)
    """Of those that have been answered for."""

    def take(self, scores: Scores) -> None:
        """Those of the next text."""
        self.read.append(scores)
        if len(self.read) == len(self.texts):
            self.scores.set_result(self.read)


class PromptJudge:
    """Texts in, their scores out."""

    def __init__(self, aide: Aide) -> None:
        self._aide = aide
        self._waiting: deque[_Call] = deque()
        self._work: asyncio.Task[None] | None = None

    async def __call__(self, texts: Sequence[str]) -> Sequence[Scores]:
        """The scores of each text; raises NotJudged, and then asks for none of them any more."""
        loop = asyncio.get_running_loop()
        call = _Call(texts, loop.create_future())
        self._waiting.append(call)
        if self._work is None:
            self._work = loop.create_task(self._judge())
        try:
            async with asyncio.timeout(WITHIN_S * len(texts)):
                return await call.scores
        except (NoAnswer, TimeoutError) as error:
            raise NotJudged from error

    async def _judge(self) -> None:
        """Ask until nothing waits."""
        while asked := self._next():
            scores = await self._ask(tuple(text for text, _ in asked))
            for index, (_, call) in enumerate(asked):
                if call.scores.done():
                    continue
                if isinstance(scores, Exception):
                    call.scores.set_exception(scores)
                else:
                    call.take(scores[index])
        self._work = None

    def _next(self) -> list[tuple[str, _Call]]:
        """The texts of the next question: one of each call in turn, so that who asks for much
        holds up nobody who asks for little."""
        asked: list[tuple[str, _Call]] = []
        room = MOST_CHARACTERS
        while self._waiting and len(asked) < MOST_TOGETHER:
            call = self._waiting[0]
            if call.scores.done() or call.asked == len(call.texts):
                self._waiting.popleft()
                continue
            text = call.texts[call.asked]
            room -= len(text)
            if asked and room < 0:
                break
            call.asked += 1
            asked.append((text, call))
            self._waiting.rotate(-1)
        return asked

    async def _ask(self, texts: tuple[str, ...]) -> Sequence[Scores] | Exception:
        try:
            answer = await self._aide.ask(Judge(PROMPTS, texts), WITHIN_S)
            assert isinstance(answer, Judged)
            return [scores for _, scores in zip(texts, answer.scores, strict=True)]
        except Exception as error:  # of whatever kind: those who wait must hear of it
            return error


class PictureJudge:
    """Pictures in, the scores of what is in them out."""

    def __init__(self, aide: Aide) -> None:
        self._aide = aide
        self._turn = asyncio.Lock()

    async def __call__(self, pictures: Sequence[Seen]) -> Sequence[Mapping[Category, float]]:
        """The scores of each picture; raises NotJudged."""
        try:
            return [await self._ask(picture) for picture in pictures]
        except (NoAnswer, TimeoutError) as error:
            raise NotJudged from error

    async def _ask(self, picture: Seen) -> Mapping[Category, float]:
        """One at a time, in turn with those of others: none of them fills the aide."""
        async with asyncio.timeout(WITHIN_S), self._turn:
            answer = await self._aide.ask(Look(picture), WITHIN_S)
        assert isinstance(answer, Looked)
        return answer.scores


def judge_for(registry: Registry, aide: Aide | None) -> PromptJudge | None:
    """What judges prompts, where a classifier of them is installed and there is an aide."""
    return PromptJudge(aide) if aide and usable(registry.policy.prompts) else None


def picture_judge_for(registry: Registry, aide: Aide | None) -> PictureJudge | None:
    """The same of pictures that are sent."""
    return PictureJudge(aide) if aide and usable(registry.policy.images) else None
