"""The aide's classifiers of prompts and of pictures, as the content policy asks them.

What is asked while it is busy is asked together as soon as it is not. Knows the aide; not what its
scores mean.
"""

import asyncio
from collections import deque
from collections.abc import Sequence

from pipelines.questions import Judge, Judged, Look, Seen
from pipelines.registry import Registry
from server.fleet.aide import PROMPTS, Aide, NoAnswer
from server.prompts.policy import Scores
from server.refusals import NotJudged

WITHIN_S = 20.0
"""How long a request waits for its prompt to be judged, the others of its question included."""
MOST_TOGETHER = 32
MOST_CHARACTERS = 32_000
"""Of the texts of a question, unless one alone has more: a long one takes seconds on a CPU."""

_Asked = tuple[str, asyncio.Future[Scores]]


class PromptJudge:
    """Texts in, their scores out."""

    def __init__(self, aide: Aide) -> None:
        self._aide = aide
        self._waiting: deque[deque[_Asked]] = deque()
        """The texts of each call."""
        self._work: asyncio.Task[None] | None = None

    async def __call__(self, texts: Sequence[str]) -> Sequence[Scores]:
        """The scores of each text; raises NotJudged."""
        loop = asyncio.get_running_loop()
        mine: list[_Asked] = [(text, loop.create_future()) for text in texts]
        self._waiting.append(deque(mine))
        if self._work is None:
            self._work = loop.create_task(self._judge())
        try:
            return await asyncio.gather(*(future for _, future in mine))
        except NoAnswer as error:
            raise NotJudged from error

    async def _judge(self) -> None:
        """Ask until nothing waits."""
        while asked := self._next():
            scores = await self._ask(tuple(text for text, _ in asked))
            for index, (_, future) in enumerate(asked):
                if future.done():
                    continue  # nobody waits for it any more
                if isinstance(scores, Exception):
                    future.set_exception(scores)
                else:
                    future.set_result(scores[index])
        self._work = None

    def _next(self) -> list[_Asked]:
        """The texts of the next question: one of each call in turn, so that who asks for much
        holds up nobody who asks for little."""
        asked: list[_Asked] = []
        room = MOST_CHARACTERS
        while self._waiting and len(asked) < MOST_TOGETHER:
            call = self._waiting[0]
            while call and call[0][1].done():
                call.popleft()  # nobody waits for it any more
            if not call:
                self._waiting.popleft()
                continue
            room -= len(call[0][0])
            if asked and room < 0:
                break
            asked.append(call.popleft())
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
    """Pictures in, their scores out: by category, whose labels are the worker's to know."""

    def __init__(self, aide: Aide) -> None:
        self._aide = aide
        self._turn = asyncio.Lock()

    async def __call__(self, pictures: Sequence[Seen]) -> Sequence[Scores]:
        """The scores of each picture; raises NotJudged."""
        try:
            return [await self._ask(picture) for picture in pictures]
        except NoAnswer as error:
            raise NotJudged from error

    async def _ask(self, picture: Seen) -> Scores:
        """One at a time, in turn with those of others: none of them fills the aide."""
        async with self._turn:
            answer = await self._aide.ask(Look(picture), WITHIN_S)
        assert isinstance(answer, Judged)
        (scores,) = answer.scores
        return scores


def judge_for(registry: Registry, aide: Aide | None) -> PromptJudge | None:
    """What judges prompts, where a classifier is named and there is an aide that has it."""
    if registry.policy.prompts is None or aide is None:
        return None
    return PromptJudge(aide)


def picture_judge_for(registry: Registry, aide: Aide | None) -> PictureJudge | None:
    """The same of pictures that are sent."""
    if registry.policy.images is None or aide is None:
        return None
    return PictureJudge(aide)
