"""What is asked of `/v1/moderations`, and the shape of its answer.

Knows the contract; what a text is about is found by `policy`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

from pipelines.content import CATEGORIES
from pipelines.core import Strictness
from server.errors import EmptyArray, InvalidValue
from server.prompts.policy import Findings, flagged
from server.reading.kinds import Choice, Kind, Table, Text, read_table, wrong_type
from server.reading.references import too_many

MODELS = (
    "omni-moderation-latest",
    "omni-moderation-2024-09-26",
    "text-moderation-latest",
    "text-moderation-stable",
    "text-moderation-007",
)
"""The original's; the answer is the same by all of these names."""
MOST_TEXTS = 100
TEXT = Text(32000, may_be_empty=False)
_PART: Table = {"type": Choice(("text",)), "text": TEXT}

Texts = Sequence[Sequence[str]]
"""What each result is about: one text, or the parts of one input."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """A text, an array of texts, or an array of parts that are one input together."""

    def read(self, name: str, value: object) -> Texts:
        """The texts of each result."""
        if isinstance(value, str):
            return [[TEXT.read(name, value)]]
        if not isinstance(value, list):
            raise wrong_type(name, "a string or an array", value)
        if not value:
            raise EmptyArray(
                f"Invalid '{name}': empty array. Expected an array with minimum length 1, but got "
                "an empty array instead.",
                name,
            )
        if len(value) > MOST_TEXTS:
            raise too_many(name, MOST_TEXTS, len(value))
        if isinstance(value[0], dict):
            return [[_part(f"{name}[{index}]", part) for index, part in enumerate(value)]]
        return [[TEXT.read(f"{name}[{index}]", text)] for index, text in enumerate(value)]


BODY: Mapping[str, Kind] = {"model": Choice(MODELS), "input": Inputs()}
REQUIRED = ("input",)


def answer(model: str, found: Sequence[Findings], strictness: Strictness) -> dict[str, Any]:
    """What a client is told of what was found in its inputs."""
    return {
        "id": f"modr-{token_hex(16)}",
        "model": model,
        "results": [_result(findings, strictness) for findings in found],
    }


def _result(found: Findings, strictness: Strictness) -> dict[str, Any]:
    refused = flagged(found, strictness)
    return {
        "flagged": bool(refused),
        "categories": {it: it in refused for it in CATEGORIES},
        "category_scores": {it: found[it].score if it in found else 0.0 for it in CATEGORIES},
        "category_applied_input_types": {it: ["text"] for it in CATEGORIES},
    }


def _part(where: str, part: object) -> str:
    if not isinstance(part, dict):
        raise wrong_type(where, "an object", part)
    if part.get("type") == "image_url":
        raise InvalidValue("This server moderates text alone: leave the images out.", where)
    named = {f"{where}.{name}": kind for name, kind in _PART.items()}
    sent = {f"{where}.{name}": value for name, value in part.items()}
    text: str = read_table(named, sent, tuple(named))[f"{where}.text"]
    return text
