"""What may be asked for: prompts, judged by lists of terms and by a classifier.

Knows categories and how strictly they count for whom. How images are judged is known to the
workers, of which this says only how strictly they shall be.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from pipelines.content import (
    NSFW,
    Category,
    Classifier,
    ContentPolicy,
    Mode,
    Which,
    folder_of,
)
from pipelines.core import Blocked, Strictness
from pipelines.questions import Seen
from pipelines.registry import Registry
from server.callers.callers import Caller
from server.config import Config, ConfigError
from server.fleet.status import PolicyStatus
from server.prompts.terms import STRICTNESSES, Terms, read_terms
from server.reading.profiles import Profile
from server.refusals import (
    ContentPolicyViolation,
    ModerationBlocked,
    NotJudged,
    Refused,
    Stage,
)

Scores = Mapping[str, float]
"""Of each of a classifier's labels, 0 to 1."""

_SURE: Mapping[Strictness, float] = {"low": 0.99, "auto": 0.9, "strict": 0.4}
"""How a term's strictness is told as a score."""


class Judge(Protocol):
    """A classifier of prompts; its texts' scores, in their order. Raises NotJudged."""

    async def __call__(self, texts: Sequence[str]) -> Sequence[Scores]: ...


class PictureJudge(Protocol):
    """A classifier of pictures; the scores of their categories. Raises NotJudged."""

    async def __call__(self, pictures: Sequence[Seen]) -> Sequence[Mapping[Category, float]]: ...


class Asked(Protocol):
    """What has to be known of a request for its prompt to be judged."""

    @property
    def profile(self) -> Profile: ...
    @property
    def moderation(self) -> Strictness | None: ...


@dataclass(frozen=True, slots=True)
class Finding:
    """What a text, or an image, has of one category."""

    counts: Strictness
    """The least strictness at which it does."""
    score: float


Findings = Mapping[Category, Finding]
Said = tuple[Category, float]
"""A category, and its score by one label."""


class Policy:
    """One server's content policy."""

    def __init__(
        self,
        mode: Mode,
        terms: Terms,
        threads: Executor,
        classifier: Classifier | None = None,
        judge: Judge | None = None,
        images: Classifier | None = None,
        picture_judge: PictureJudge | None = None,
    ) -> None:
        """`judge` scores the labels of `classifier`, and is not needed without one; so
        `picture_judge` the categories of `images`."""
        self._mode, self._terms, self._threads = mode, terms, threads
        self._classifier, self._judge = classifier, judge
        self._images, self._picture_judge = images, picture_judge

    def status(self) -> PolicyStatus:
        """What it is, in a few words."""
        return PolicyStatus(
            mode=self._mode,
            terms=len(self._terms),
            judges_prompts=self._judge is not None,
            judges_images=self._picture_judge is not None,
        )

    def strictness(self, moderation: Strictness | None, caller: Caller) -> Strictness | None:
        """How strictly a caller's request is judged that asks for this; None: not at all."""
        mode = caller.policy or self._mode
        if mode == "off":
            return None
        return "strict" if mode == "strict" else moderation or "auto"

    async def check(self, prompt: str, asked: Asked, caller: Caller) -> Strictness | None:
        """How strictly the request's images are to be judged, if its prompt may be asked for.

        Raises a Refused, in the words of the request's family, and NotJudged.
        """
        strictness = self.strictness(asked.moderation, caller)
        if strictness is not None and prompt:
            if self._classifier is not None and self._judge is None:
                raise NotJudged  # a policy that is off may name what is not there
            (found,) = await self.judged([prompt])
            if categories := flagged(found, strictness):
                raise _refusal(asked.profile, "input", categories)
        return strictness

    async def judged(self, texts: Sequence[str]) -> list[Findings]:
        """What is found in each of the texts, by what is there to judge them. Raises NotJudged."""
        loop = asyncio.get_running_loop()
        listed = [await loop.run_in_executor(self._threads, self._terms.find, it) for it in texts]
        found = [{it: Finding(at, _SURE[at]) for it, at in terms.items()} for terms in listed]
        if self._classifier is None or self._judge is None or not texts:
            return list(found)
        scores = await self._judge(texts)
        labels = self._classifier.labels.items()
        said = ([(it, its.get(label, 0.0)) for label, it in labels] for its in scores)
        read = (_read(its, self._classifier) for its in said)
        return [together(both) for both in zip(found, read, strict=True)]

    @property
    def seen(self) -> frozenset[Category]:
        """The categories that are looked for in pictures that are sent; none where none is."""
        if self._images is None or self._picture_judge is None:
            return frozenset()
        return frozenset((self._images.labels or NSFW).values())

    async def looked_at(self, pictures: Sequence[Seen]) -> list[Findings]:
        """What is found in each of the pictures. Raises NotJudged."""
        if not pictures:
            return []
        if self._images is None or self._picture_judge is None:
            raise NotJudged
        scores = await self._picture_judge(pictures)
        return [_read(its.items(), self._images) for its in scores]


def policy_of(
    config: Config,
    registry: Registry,
    threads: Executor,
    judge: Judge | None = None,
    picture_judge: PictureJudge | None = None,
) -> Policy:
    """A server's policy; raises ConfigError for lists that cannot be read, and for classifiers that
    are not there."""
    said = registry.policy
    mode = config.policy or said.mode
    if mode != "off":
        _require_installed(said)
    return Policy(
        mode,
        read_terms(said.terms),
        threads,
        said.prompts,
        judge,
        said.images,
        picture_judge,
    )


def flagged(found: Findings, strictness: Strictness) -> tuple[Category, ...]:
    """The categories that are not allowed, in alphabetical order."""
    most = STRICTNESSES.index(strictness)
    return tuple(sorted(it for it, at in found.items() if STRICTNESSES.index(at.counts) <= most))


def together(findings: Iterable[Findings]) -> Findings:
    """What is found in several texts that are judged as one, or in one by several ways."""
    found: dict[Category, list[Finding]] = {}
    for each in findings:
        for category, finding in each.items():
            found.setdefault(category, []).append(finding)
    return {
        category: Finding(
            min((it.counts for it in its), key=STRICTNESSES.index), max(it.score for it in its)
        )
        for category, its in found.items()
    }


@contextmanager
def told_as(profile: Profile) -> Iterator[None]:
    """Tell of an image that was kept back in the words of the request's family."""
    try:
        yield
    except Blocked as blocked:
        raise _refusal(profile, "output", blocked.categories) from None


def in_a_line(policy: PolicyStatus) -> str:
    """What the policy is, for the terminal."""
    if policy.mode == "off":
        return "content policy: off"
    judged = (("prompts", policy.judges_prompts), ("images", policy.judges_images))
    models = "".join(f", a classifier of {what}" for what, there in judged if there)
    return f"content policy: {policy.mode} ({policy.terms} terms{models})"


def _refusal(profile: Profile, stage: Stage, categories: tuple[str, ...]) -> Refused:
    kind = ModerationBlocked if profile.describes else ContentPolicyViolation
    return kind(stage, categories)


def _read(scores: Iterable[Said], classifier: Classifier) -> Findings:
    """What a classifier's scores mean."""
    return together(
        {category: Finding(counts, score)}
        for category, score in scores
        if (counts := _counts(score, classifier))
    )


def _counts(score: float, classifier: Classifier) -> Strictness | None:
    """The least strictness at which a score counts."""
    thresholds = classifier.thresholds
    return next((it for it in STRICTNESSES if score >= thresholds.of(it)), None)


def _require_installed(said: ContentPolicy) -> None:
    named: Mapping[Which, Classifier | None] = {"prompts": said.prompts, "images": said.images}
    for which, classifier in named.items():
        if classifier is not None and (fault := classifier.fault):
            pull = f"`darkroom pull {folder_of(which)}`, or " if classifier.pulled else ""
            raise ConfigError(f"policy.{which}: {fault}. Mend it, or {pull}say --policy off")
