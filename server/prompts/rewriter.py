"""The rewriter, wherever it is: asked for a prompt, and never the reason for a request to fail.

Knows how many may ask at once, and how long that may take; what is asked is known to `rewriting`.
"""

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Literal, Protocol

from pipelines.questions import Write, Written
from pipelines.registry import Registry
from pipelines.wording import ChatRewriter
from server.config import Config
from server.fleet.aide import Aide, NoAnswer
from server.prompts.chat import ChatEndpoint
from server.prompts.rewriting import Unusable, Wish, question, reading

AT_ONCE = 8
"""Further ones wait for their turn, within their time."""

Outcome = Literal["done", "failed", "timeout", "unusable"]

log = logging.getLogger(__name__)


class LanguageModel(Protocol):
    """Whoever goes on with conversations."""

    async def write(self, question: Write, within_s: float) -> str:
        """What it says next; raises NoAnswer."""

    async def close(self) -> None:
        """It is not asked again."""


@dataclass(frozen=True, slots=True)
class Revision:
    """What became of a prompt."""

    outcome: Outcome
    prompt: str
    """The new one if that is `done`, otherwise as it was."""
    seconds: float = 0.0


class LocalModel:
    """The one of the server's aide, which is ended with the server and not here."""

    def __init__(self, aide: Aide) -> None:
        self._aide = aide

    async def write(self, question: Write, within_s: float) -> str:
        """What it says next; raises NoAnswer."""
        answer = await self._aide.ask(question, within_s)
        assert isinstance(answer, Written)
        return answer.text

    async def close(self) -> None:
        """Nothing is to be given back."""


class Rewriter:
    """A language model that is asked to word prompts, by a few requests at once."""

    def __init__(self, model: LanguageModel, timeout_s: float) -> None:
        self._model, self._timeout_s = model, timeout_s
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def revise(self, wish: Wish) -> Revision:
        """The prompt in other words, or as it was. To cancel it takes the question back."""
        began = time.monotonic()
        outcome, prompt = await self._ask(wish)
        return Revision(outcome, prompt, time.monotonic() - began)

    async def close(self) -> None:
        """Nothing is revised any more."""
        await self._model.close()

    async def _ask(self, wish: Wish) -> tuple[Outcome, str]:
        outcome: Outcome
        deadline = time.monotonic() + self._timeout_s
        try:
            async with asyncio.timeout(self._timeout_s), self._turns:
                within_s = deadline - time.monotonic()
                return "done", reading(await self._model.write(question(wish), within_s), wish)
        except TimeoutError:
            outcome, why = "timeout", f"no answer within {self._timeout_s:g} s"
        except NoAnswer as error:
            outcome, why = "timeout" if error.late else "failed", str(error)
        except Unusable as error:
            outcome, why = "unusable", str(error)
        log.warning("a prompt goes on as it was: the rewriter's answer: %s: %s", outcome, why)
        return outcome, wish.prompt


def rewriter_for(config: Config, registry: Registry, aide: Aide | None) -> Rewriter | None:
    """The rewriter that weights.yaml defines, if it is there."""
    spec = registry.rewriter
    if isinstance(spec, ChatRewriter):
        return Rewriter(ChatEndpoint(spec, config.rewriter_key), spec.timeout)
    if spec is None:
        return None
    if aide is None or not spec.installed:
        log.warning("the rewriter %s is not installed: prompts stay as they are", spec.source)
        return None
    return Rewriter(LocalModel(aide), spec.timeout)
