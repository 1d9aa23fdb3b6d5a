"""The aide's classifier of prompts, as the content policy asks it.

What is asked while it is busy is asked together as soon as it is not. Knows the aide; not what its
scores mean.
"""

import asyncio
from collections.abc import Sequence

from pipelines.questions import Judge, Judged
from pipelines.registry import Registry
from server.fleet.aide import PROMPTS, Aide, NoAnswer
from server.prompts.policy import Scores
from server.refusals import NotJudged

WITHIN_S = 20.0
"""How long a request waits for its prompt to be judged, the others of its question included."""
MOST_TOGETHER = 32


class PromptJudge:
    """Texts in, their scores out."""

    def __init__(self, aide: Aide) -> None:
        self._aide = aide
        self._waiting: list[tuple[str, asyncio.Future[Scores]]] = []
        self._work: asyncio.Task[None] | None = None

    async def __call__(self, texts: Sequence[str]) -> Sequence[Scores]:
        """The scores of each text; raises NotJudged."""
        loop = asyncio.get_running_loop()
        mine: list[tuple[str, asyncio.Future[Scores]]]
        mine = [(text, loop.create_future()) for text in texts]
        self._waiting += mine
        if self._work is None:
            self._work = loop.create_task(self._judge())
        try:
            return await asyncio.gather(*(future for _, future in mine))
        except NoAnswer as error:
            raise NotJudged from error

    async def _judge(self) -> None:
        """Ask until nothing waits."""
        while waiting := [each for each in self._waiting if not each[1].done()]:
            asked, self._waiting = waiting[:MOST_TOGETHER], waiting[MOST_TOGETHER:]
            scores = await self._ask(tuple(text for text, _ in asked))
            for index, (_, future) in enumerate(asked):
                if future.done():
                    continue  # nobody waits for it any more
                if isinstance(scores, Exception):
                    future.set_exception(scores)
                else:
                    future.set_result(scores[index])
        self._work = None

    async def _ask(self, texts: tuple[str, ...]) -> Sequence[Scores] | Exception:
        try:
            answer = await self._aide.ask(Judge(PROMPTS, texts), WITHIN_S)
            assert isinstance(answer, Judged)
            return [scores for _, scores in zip(texts, answer.scores, strict=True)]
        except Exception as error:  # of whatever kind: those who wait must hear of it
            return error


def judge_for(registry: Registry, aide: Aide | None) -> PromptJudge | None:
    """What judges prompts, where a classifier is named and there is an aide that has it."""
    if registry.policy.prompts is None or aide is None:
        return None
    return PromptJudge(aide)
