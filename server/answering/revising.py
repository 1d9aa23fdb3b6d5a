"""A request's prompt -> the one that its model is given: rewritten, in a template, or as it is.

Knows when that is wanted and what the answer tells of it; how a prompt is rewritten is known to
`rewriter`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from starlette.requests import Request

from pipelines.wording import Templates
from server.answering.waiting import together
from server.callers.callers import Caller
from server.prompts.languages import likeliest, reads
from server.prompts.rewriter import Outcome, Revision
from server.prompts.rewriting import Wish
from server.reading.contract import ImageRequest
from server.services import Services

_ENDS = " .,;。\uff0c\uff1b"
"""How a prompt may end that a template goes on with."""


@dataclass(frozen=True, slots=True)
class Wording:
    """What became of a request's prompt."""

    prompt: str
    """The one that its model is given."""
    ignored: tuple[str, ...]
    """Of the request's parameters: those that change nothing, now that this is known."""
    rewrite: Outcome | None = None
    """What came of the rewriter, if that was asked."""
    seconds: float = 0.0
    """What that took of the time for the answer."""


async def revised(
    request: Request, wanted: ImageRequest, caller: Caller, services: Services
) -> Wording:
    """The prompt that the model is to be given; raises ClientDisconnected, and as `Policy.check`.

    The prompt as it was sent has been checked; limits and accounts go by that one.
    """
    wording = await _wording(request, wanted, services)
    if wording.prompt != wanted.prompt:
        await services.policy.check(wording.prompt, wanted, caller)
    return wording


async def _wording(request: Request, wanted: ImageRequest, services: Services) -> Wording:
    spec = services.registry.models[wanted.model]
    wish = Wish(
        wanted.prompt,
        spec.languages,
        spec.prompt_tokens,
        style=wanted.style,
        hd=wanted.quality == "hd",
        instruction=wanted.task == "edit",
    )
    revision = await _revision(request, wanted, wish, services)
    if revision is not None and revision.outcome == "done":
        return _outcome(revision, revision.prompt, _without(wanted, "style"))
    prompt = dressed(wish, spec.templates) if wanted.tells_prompt else wanted.prompt
    ignored = wanted.ignored
    if wanted.tells_prompt and prompt != dressed(replace(wish, style=None), spec.templates):
        ignored = _without(wanted, "style")
    if wanted.rewrite is True and services.rewriter is None:
        ignored = (*ignored, "prompt_rewrite")
    if not reads(spec.languages, wanted.prompt):
        ignored = (*ignored, "language")
    return _outcome(revision, prompt, ignored)


def dressed(wish: Wish, templates: Mapping[str, Templates]) -> str:
    """The prompt in the templates of its style and quality, in its language."""
    familiar = reads(templates, wish.prompt)
    language = likeliest(templates, wish.prompt) if templates and familiar else wish.language
    known = templates.get(language, Templates())
    prompt = wish.prompt
    for word in (["hd"] if wish.hd else []) + ([wish.style] if wish.style else []):
        before, after = getattr(known, word).split("{prompt}")
        prompt = before + (prompt.rstrip(_ENDS) if after else prompt) + after
    return prompt


async def _revision(
    request: Request, wanted: ImageRequest, wish: Wish, services: Services
) -> Revision | None:
    on = wanted.profile.revises if wanted.rewrite is None else wanted.rewrite
    if services.rewriter is None or not on or not wanted.prompt:
        return None
    (revision,) = await together([services.rewriter.revise(wish)], [], request.receive)
    services.metrics.rewritten(revision.outcome)
    return revision


def _outcome(revision: Revision | None, prompt: str, ignored: tuple[str, ...]) -> Wording:
    if revision is None:
        return Wording(prompt, ignored)
    return Wording(prompt, ignored, revision.outcome, revision.seconds)


def _without(wanted: ImageRequest, name: str) -> tuple[str, ...]:
    return tuple(it for it in wanted.ignored if it != name)
