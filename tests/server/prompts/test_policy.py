"""What is found in prompts, and for whom it counts."""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipelines.content import Classifier, Mode, Thresholds
from pipelines.core import Blocked, Strictness
from pipelines.questions import Seen
from server.callers.callers import Caller
from server.errors import ApiError
from server.prompts.policy import Finding, Policy, Scores, flagged, in_a_line, together, told_as
from server.prompts.terms import Rule, Terms
from server.reading.profiles import DALL_E_2, DALL_E_3, GPT_IMAGE_1, GPT_IMAGE_2, OPEN, Profile
from server.refusals import ContentPolicyViolation, ModerationBlocked, NotJudged

TERMS = Terms(
    [("worst", Rule("hate", "low")), ("bad", Rule("hate")), ("mild", Rule("violence", "strict"))]
)
LABELS = Classifier(
    "judge",
    Path("judge"),
    {"toxic": "harassment", "insult": "harassment", "lewd": "sexual"},
    Thresholds(low=0.9, auto=0.6, strict=0.2),
)


@dataclass(frozen=True)
class Asked:
    profile: Profile = OPEN
    moderation: Strictness | None = None


ASKED, ANYONE = Asked(), Caller()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def checked(
    policy: Policy, prompt: str, asked: Asked = ASKED, caller: Caller = ANYONE
) -> Strictness | None:
    return asyncio.run(policy.check(prompt, asked, caller))


@pytest.mark.parametrize("mode", ["off", "on", "strict"])
@pytest.mark.parametrize("own", [None, "off", "on", "strict"])
@pytest.mark.parametrize("moderation", [None, "low", "auto"])
def test_a_key_has_its_own_mode_and_a_request_may_ask_for_less(
    threads: ThreadPoolExecutor, mode: Mode, own: Mode | None, moderation: Strictness | None
) -> None:
    policy = Policy(mode, TERMS, threads)
    expected = {"off": None, "on": moderation or "auto", "strict": "strict"}[own or mode]
    caller = Caller("someone", policy=own)
    assert policy.strictness(moderation, caller) == expected
    assert checked(policy, "fine", Asked(moderation=moderation), caller) == expected


@pytest.mark.parametrize(
    ("profile", "kind"),
    [
        (DALL_E_2, ContentPolicyViolation),
        (DALL_E_3, ContentPolicyViolation),
        (OPEN, ContentPolicyViolation),
        (GPT_IMAGE_1, ModerationBlocked),
        (GPT_IMAGE_2, ModerationBlocked),
    ],
)
def test_each_family_is_told_in_its_words(
    threads: ThreadPoolExecutor, profile: Profile, kind: type[ApiError]
) -> None:
    with pytest.raises(kind) as prompt:
        checked(Policy("on", TERMS, threads), "bad", Asked(profile))
    with pytest.raises(kind) as image, told_as(profile):
        raise Blocked(("sexual",))
    assert [(it.value.stage, it.value.categories) for it in (prompt, image)] == [  # type: ignore[attr-defined]
        ("input", ("hate",)),
        ("output", ("sexual",)),
    ]


def judging(scores: Scores | None) -> object:
    """A classifier that says the same of every text, or nothing."""

    async def judge(texts: Sequence[str]) -> Sequence[Scores]:
        if scores is None:
            raise NotJudged
        return [scores] * len(texts)

    return judge


@pytest.mark.parametrize(
    ("scores", "refused"),
    [
        ({"toxic": 0.95}, {"low", "auto", "strict"}),
        ({"toxic": 0.6, "other": 1.0}, {"auto", "strict"}),
        ({"toxic": 0.1, "insult": 0.3}, {"strict"}),
        ({"toxic": 0.19, "insult": 0.19, "lewd": 0.19}, set()),
        ({}, set()),
    ],
)
def test_a_classifier_counts_from_the_threshold_on(
    threads: ThreadPoolExecutor, scores: Scores, refused: set[str]
) -> None:
    policy = Policy("on", TERMS, threads, LABELS, judging(scores))  # type: ignore[arg-type]
    (found,) = asyncio.run(policy.judged(["fine"]))
    told: set[str] = {it for it in ("low", "auto", "strict") if flagged(found, it)}  # type: ignore[arg-type]
    assert told == refused


def test_lists_and_classifier_are_taken_together(threads: ThreadPoolExecutor) -> None:
    scores = {"toxic": 0.7, "insult": 0.65, "lewd": 0.3}
    policy = Policy("on", TERMS, threads, LABELS, judging(scores))  # type: ignore[arg-type]
    (found,) = asyncio.run(policy.judged(["a worst mild"]))
    assert found["harassment"] == Finding("auto", 0.7)
    assert found["sexual"] == Finding("strict", 0.3)
    assert found["hate"].counts == "low" and found["violence"].counts == "strict"
    assert flagged(found, "auto") == ("harassment", "hate")


@pytest.mark.parametrize("judge", [judging(None), None])
def test_what_cannot_be_judged_is_not_made(threads: ThreadPoolExecutor, judge: object) -> None:
    policy = Policy("on", TERMS, threads, LABELS, judge)  # type: ignore[arg-type]
    with pytest.raises(NotJudged):
        checked(policy, "fine")
    assert checked(policy, "bad", caller=Caller("x", policy="off")) is None
    assert checked(policy, "") == "auto"


def test_without_what_judges_texts_the_lists_are_asked(threads: ThreadPoolExecutor) -> None:
    """So a server answers moderations whose policy is off, and names what is not installed."""
    policy = Policy("off", TERMS, threads, LABELS)
    assert not policy.status().judges_prompts
    assert asyncio.run(policy.judged(["a worst"])) == asyncio.run(
        Policy("off", TERMS, threads).judged(["a worst"])
    )
    with pytest.raises(NotJudged):
        checked(policy, "fine", caller=Caller("x", policy="on"))


def test_of_several_findings_the_worst_counts() -> None:
    one, other = {"hate": Finding("auto", 0.9)}, {"hate": Finding("low", 0.5)}
    assert together([one, {}, other]) == {"hate": Finding("low", 0.9)}  # type: ignore[list-item]
    assert together([]) == {}


def test_pictures_count_from_the_threshold_on(threads: ThreadPoolExecutor) -> None:
    images = Classifier("seer", Path("seer"), {"gore": "violence/graphic", "nude": "sexual"})

    async def look(pictures: Sequence[Seen]) -> Sequence[Scores]:
        return [{"violence/graphic": it.width / 100, "sexual": 0.1} for it in pictures]

    policy = Policy("on", TERMS, threads, images=images, picture_judge=look)
    pictures = [Seen(width, 1, b"") for width in (90, 60, 35, 10)]
    found = asyncio.run(policy.looked_at(pictures))
    assert [it.get("violence/graphic") for it in found] == [
        Finding("low", 0.9), Finding("auto", 0.6), Finding("strict", 0.35), None,
    ]  # fmt: skip
    assert all("sexual" not in it for it in found)
    assert policy.seen == {"violence/graphic", "sexual"}
    assert asyncio.run(policy.looked_at([])) == []


def test_pictures_that_nothing_can_look_at_are_not_judged(threads: ThreadPoolExecutor) -> None:
    for policy in (Policy("on", TERMS, threads), Policy("on", TERMS, threads, images=LABELS)):
        with pytest.raises(NotJudged):
            asyncio.run(policy.looked_at([Seen(1, 1, bytes(3))]))
    assert Policy("on", TERMS, threads, LABELS).seen == frozenset()
    checker = Classifier("checker", Path("checker"), {})
    assert Policy("on", TERMS, threads, images=checker).seen == frozenset()
    looking: Any = judging({})
    assert Policy("on", TERMS, threads, images=checker, picture_judge=looking).seen == {"sexual"}


def test_nothing_to_judge_needs_nothing_that_judges(threads: ThreadPoolExecutor) -> None:
    assert asyncio.run(Policy("on", TERMS, threads, LABELS).judged([])) == []


def test_it_is_told_in_a_line(threads: ThreadPoolExecutor) -> None:
    assert in_a_line(Policy("off", TERMS, threads).status()) == "content policy: off"
    assert in_a_line(Policy("on", TERMS, threads).status()) == "content policy: on (3 terms)"
    judge: Any = judging({})
    both = Policy("strict", TERMS, threads, LABELS, judge, LABELS, judge).status()
    told = "strict (3 terms, a classifier of prompts, a classifier of images)"
    assert in_a_line(both) == f"content policy: {told}"
