"""A request's prompt -> the one that its model is given: rewritten, in a template, or as it is.

Knows when that is wanted and what the answer tells of it; how a prompt is rewritten is known to
`rewriter`.
"""

from collections.abc import Mapping
from dataclasses import replace

from starlette.requests import Request

from pipelines.wording import Templates
from server.answering.waiting import together
from server.prompts.languages import likeliest, reads
from server.prompts.rewriter import Revision
from server.prompts.rewriting import Wish
from server.reading.contract import ImageRequest
from server.services import Services

_ENDS = " .,;。\uff0c\uff1b"
"""How a prompt may end that a template goes on with."""


async def revised(request: Request, wanted: ImageRequest, services: Services) -> ImageRequest:
    """The request with the prompt that its model is to be given; raises ClientDisconnected.

    What checks prompts, limits and accounts goes by the prompt as it was sent.
    """
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
        return _told(wanted, revision, revision.prompt, _without(wanted, "style"))
    prompt = dressed(wish, spec.templates) if wanted.tells_prompt else wanted.prompt
    ignored = wanted.ignored
    if wanted.style and prompt != dressed(replace(wish, style=None), spec.templates):
        ignored = _without(wanted, "style")
    if wanted.rewrite is True and services.rewriter is None:
        ignored = (*ignored, "prompt_rewrite")
    if not reads(spec.languages, wanted.prompt):
        ignored = (*ignored, "language")
    return _told(wanted, revision, prompt, ignored)


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


def _told(
    wanted: ImageRequest, revision: Revision | None, prompt: str, ignored: tuple[str, ...]
) -> ImageRequest:
    return replace(
        wanted,
        given_prompt=prompt,
        rewritten=revision.outcome if revision else None,
        waited_s=revision.seconds if revision else 0.0,
        ignored=ignored,
    )


def _without(wanted: ImageRequest, name: str) -> tuple[str, ...]:
    return tuple(it for it in wanted.ignored if it != name)
