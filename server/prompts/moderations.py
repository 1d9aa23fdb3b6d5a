"""What is asked of `/v1/moderations`, and the shape of its answer.

Knows the contract; what a text or a picture is about is found by `policy`.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

from pipelines.content import CATEGORIES, Category
from pipelines.core import Strictness
from server.errors import EmptyArray, InvalidValue
from server.prompts.policy import Findings, flagged
from server.reading.kinds import Choice, Kind, Table, Text, read_table, wrong_type
from server.reading.references import Reference, read_url, too_many

MODELS = (
    "omni-moderation-latest",
    "omni-moderation-2024-09-26",
    "text-moderation-latest",
    "text-moderation-stable",
    "text-moderation-007",
)
"""The original's; the answer is the same by all of these names."""
MOST_PARTS = 100
"""Texts, or parts of an input."""
MOST_PICTURES = 16
TEXT = Text(32000, may_be_empty=False)


@dataclass(frozen=True, slots=True)
class Input:
    """What a result is about."""

    texts: Sequence[str] = ()
    pictures: Sequence[Reference] = ()
    pictures_param: str = ""
    """Where the first of the pictures is."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found in an input."""

    findings: Findings
    has_texts: bool
    looked_for: Collection[Category] = ()
    """In its pictures."""


@dataclass(frozen=True, slots=True)
class _Picture:
    """`{"url": …}`."""

    def read(self, name: str, value: object) -> Reference:
        """What it points to."""
        if not isinstance(value, dict):
            raise wrong_type(name, "an object", value)
        where = f"{name}.url"
        sent = {f"{name}.{key}": item for key, item in value.items()}
        url: Reference = read_table({where: _Url()}, sent, (where,))[where]
        return url


@dataclass(frozen=True, slots=True)
class _Url:
    def read(self, name: str, value: object) -> Reference:
        return read_url(name, value)


_TYPE = Choice(("text", "image_url"))
_PARTS: Mapping[str, Kind] = {"text": TEXT, "image_url": _Picture()}
"""What a part of a type has, under the name of the type."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """A text, an array of texts, or an array of parts that are one input together."""

    def read(self, name: str, value: object) -> Sequence[Input]:
        """What each result is to be about."""
        if isinstance(value, str):
            return [Input([TEXT.read(name, value)])]
        if not isinstance(value, list):
            raise wrong_type(name, "a string or an array", value)
        if not value:
            raise EmptyArray(
                f"Invalid '{name}': empty array. Expected an array with minimum length 1, but got "
                "an empty array instead.",
                name,
            )
        if len(value) > MOST_PARTS:
            raise too_many(name, MOST_PARTS, len(value))
        if isinstance(value[0], dict):
            return [_together(name, value)]
        return [Input([TEXT.read(f"{name}[{index}]", it)]) for index, it in enumerate(value)]


BODY: Table = {"model": Choice(MODELS), "input": Inputs()}
REQUIRED = ("input",)


def answer(model: str, verdicts: Iterable[Verdict], strictness: Strictness) -> dict[str, Any]:
    """What a client is told of what was found in its inputs."""
    return {
        "id": f"modr-{token_hex(16)}",
        "model": model,
        "results": [_result(it, strictness) for it in verdicts],
    }


def no_pictures(input: Input) -> InvalidValue:
    """The refusal of pictures where nothing looks at them."""
    told = "This server has nothing that looks at images: no classifier of them is installed. "
    return InvalidValue(f"{told}Leave the images out.", input.pictures_param)


def _result(verdict: Verdict, strictness: Strictness) -> dict[str, Any]:
    found = verdict.findings
    refused = flagged(found, strictness)
    types = {it: _types(it, verdict) for it in CATEGORIES}
    return {
        "flagged": bool(refused),
        "categories": {it: it in refused for it in CATEGORIES},
        "category_scores": {it: found[it].score if it in found else 0.0 for it in CATEGORIES},
        "category_applied_input_types": types,
    }


def _types(category: Category, verdict: Verdict) -> list[str]:
    looked = ["image"] if category in verdict.looked_for else []
    return (["text"] if verdict.has_texts else []) + looked


def _together(name: str, parts: list[Any]) -> Input:
    """Parts as one input."""
    read = [_part(f"{name}[{index}]", part) for index, part in enumerate(parts)]
    pictures = [index for index, part in enumerate(read) if not isinstance(part, str)]
    if len(pictures) > MOST_PICTURES:
        raise InvalidValue(
            f"Invalid '{name}': at most {MOST_PICTURES} images are moderated at once, but got "
            f"{len(pictures)}.",
            name,
        )
    return Input(
        [part for part in read if isinstance(part, str)],
        [part for part in read if not isinstance(part, str)],
        f"{name}[{pictures[0]}]" if pictures else "",
    )


def _part(where: str, part: object) -> str | Reference:
    if not isinstance(part, dict):
        raise wrong_type(where, "an object", part)
    sent = {f"{where}.{name}": value for name, value in part.items()}
    type_name = f"{where}.type"
    said = read_table(
        {type_name: _TYPE}, {type_name: part["type"]} if "type" in part else {}, (type_name,)
    )
    kind: str = said[type_name]
    own = f"{where}.{kind}"
    values = read_table({type_name: _TYPE, own: _PARTS[kind]}, sent, (own,))
    read: str | Reference = values[own]
    return read
