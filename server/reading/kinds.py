"""The kinds of parameters: what each accepts, and the exact words in which it refuses the rest.

A kind knows nothing of models or endpoints. `profiles` puts kinds together into tables.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from server import errors

_TYPE_NAMES: Sequence[tuple[type, str]] = (
    (bool, "a boolean"),  # before int, of which it is a subclass
    (int, "an integer"),
    (float, "a decimal number"),
    (str, "a string"),
    (list, "an array"),
    (dict, "an object"),
    (bytes, "a file"),
    (type(None), "null"),
)
_TRUTHS = {"true": True, "1": True, "false": False, "0": False}
_LONGEST_ECHO = 100


@dataclass(frozen=True, slots=True)
class FormText:
    """A value as a form has it: text, whatever its kind."""

    text: str


class Kind(Protocol):
    """One row of a profile's table of parameters. Its `parse`, if it has one, is for `FormText`."""

    def read(self, name: str, value: object) -> object:
        """The value as the server uses it; raises an InvalidRequest that names the parameter."""


Table = Mapping[str, Kind]
"""Parameters, in the order in which they are checked."""


def unknown(name: str) -> errors.InvalidRequest:
    """The refusal of a parameter that there is not."""
    return errors.UnknownParameter(f"Unknown parameter: '{echo(name)}'.", echo(name))


def given(sent: Mapping[str, object], required: Collection[str] = ()) -> dict[str, object]:
    """The parameters that have a value: not null, and not an empty field of a form.

    Browsers send every field of a form, filled in or not. An empty field of a required name is
    left to its kind, which says more about it.
    """
    return {
        name: value
        for name, value in sent.items()
        if value is not None and (value != FormText("") or name in required)
    }


def read_table(
    table: Table,
    sent: Mapping[str, object],
    required: Collection[str],
    refuse: Callable[[str], errors.InvalidRequest] = unknown,
) -> dict[str, Any]:
    """What was sent, as the kinds of a table read it; raises an InvalidRequest, the first there is.

    `refuse` makes the refusal of a parameter that the table does not have.
    """
    for name in sent:
        if name not in table:
            raise refuse(name)
    values = {}
    for name, kind in table.items():
        if name in sent:
            values[name] = read_value(kind, name, sent[name])
        elif name in required:
            raise errors.MissingParameter(f"Missing required parameter: '{name}'.", name)
    return values


def read_value(kind: Kind, name: str, value: object) -> object:
    """A value of a body, from JSON or from a form, as its kind reads it."""
    if isinstance(value, FormText):
        parse = getattr(kind, "parse", None)
        value = parse(name, value.text) if parse else value.text
    return kind.read(name, value)


def _truth(name: str, text: str) -> bool:
    meaning = _TRUTHS.get(text.strip().lower())
    if meaning is None:
        raise _inconvertible(name, "a boolean")
    return meaning


@dataclass(frozen=True, slots=True)
class Anything:
    """A parameter of which nothing is asked."""

    def read(self, name: str, value: object) -> object:
        """Any JSON value."""
        return value


@dataclass(frozen=True, slots=True)
class Text:
    """A string of limited length."""

    longest: int
    may_be_empty: bool = True

    def read(self, name: str, value: object) -> str:
        """The string itself."""
        if not isinstance(value, str):
            raise wrong_type(name, "a string", value)
        if not value and not self.may_be_empty:
            raise errors.EmptyString(
                f"Invalid '{name}': empty string. Expected a string with minimum length 1, "
                "but got an empty string instead.",
                name,
            )
        if len(value) > self.longest:
            raise errors.StringTooLong(
                f"Invalid '{name}': string too long. Expected a string with maximum length "
                f"{self.longest}, but got a string with length {len(value)} instead.",
                name,
            )
        return value


@dataclass(frozen=True, slots=True)
class _Range:
    """A number from `low` to `high`; what sort of number, its class says."""

    low: float
    high: float
    sort: ClassVar[str]
    called: ClassVar[str]
    types: ClassVar[tuple[type[float], ...]]
    """What it may be in JSON; the first is what it becomes. No boolean is one."""
    in_form: ClassVar[str]
    """A pattern of its text."""
    too_small: ClassVar[type[errors.InvalidRequest]]
    too_large: ClassVar[type[errors.InvalidRequest]]

    def parse(self, name: str, text: str) -> Any:
        """The number that a form has as text; its range is not looked at."""
        if not re.fullmatch(self.in_form, text.strip()):
            raise _inconvertible(name, self.called)
        return self.types[0](text)

    def read(self, name: str, value: object) -> Any:
        """The number itself."""
        if isinstance(value, bool) or not isinstance(value, self.types):
            raise wrong_type(name, self.called, value)
        what, got = f"Invalid '{name}': {self.sort}", f"but got {echo(value)} instead."
        if value < self.low:
            told = f"{what} below minimum value. Expected a value >= {self.low}, {got}"
            raise self.too_small(told, name)
        if value > self.high:
            told = f"{what} above maximum value. Expected a value <= {self.high}, {got}"
            raise self.too_large(told, name)
        return self.types[0](value)


@dataclass(frozen=True, slots=True)
class Integer(_Range):
    """A whole number in a range; a decimal is none."""

    sort, called = "integer", "an integer"
    types = (int,)
    in_form = r"[+-]?[0-9]{1,40}"
    too_small, too_large = errors.IntegerTooSmall, errors.IntegerTooLarge


@dataclass(frozen=True, slots=True)
class Number(_Range):
    """A number in a range, whole or not, as a float."""

    sort, called = "decimal", "a decimal number"
    types = (float, int)
    in_form = r"[+-]?([0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})"
    too_small, too_large = errors.DecimalTooSmall, errors.DecimalTooLarge


@dataclass(frozen=True, slots=True)
class OnlyOne(Integer):
    """The `n` of a model that makes one image at a time."""

    low: float = 1
    high: float = 1

    def read(self, name: str, value: object) -> Any:
        """1."""
        if isinstance(value, int) and value > 1:
            raise errors.NotOneImage("You must provide n=1 for this model.")
        return Integer.read(self, name, value)


@dataclass(frozen=True, slots=True)
class Boolean:
    """true or false."""

    parse = staticmethod(_truth)

    def read(self, name: str, value: object) -> bool:
        """The boolean itself."""
        if not isinstance(value, bool):
            raise wrong_type(name, "a boolean", value)
        return value


@dataclass(frozen=True, slots=True)
class OnlyFalse:
    """A switch that a model does not have: off is what it is anyway."""

    parse = staticmethod(_truth)

    def read(self, name: str, value: object) -> bool:
        """False."""
        if Boolean().read(name, value):
            raise errors.UnknownParameter(f"Unknown parameter: '{name}'.", name)
        return False


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    values: tuple[str, ...]

    def read(self, name: str, value: object) -> str:
        """The word itself."""
        if not isinstance(value, str):
            raise wrong_type(name, f"one of {listed(self.values, 'or')}", value)
        if value not in self.values:
            raise errors.InvalidValue(
                f"Invalid value: '{echo(value)}'. Supported values are: "
                f"{listed(self.values, 'and')}.",
                name,
            )
        return value


@dataclass(frozen=True, slots=True)
class Settled:
    """A choice that may be sent, and that is made already."""

    choice: Choice
    value: str

    def read(self, name: str, value: object) -> str:
        """What it is, whatever was sent."""
        self.choice.read(name, value)
        return self.value


def wrong_type(name: str, expected: str, value: object) -> errors.InvalidType:
    """The refusal of a value of another type than the one expected."""
    got = next(text for kind, text in _TYPE_NAMES if isinstance(value, kind))
    return errors.InvalidType(
        f"Invalid type for '{name}': expected {expected}, but got {got} instead.", name
    )


def _inconvertible(name: str, expected: str) -> errors.InvalidType:
    return errors.InvalidType(
        f"Invalid type for '{name}': expected {expected}, but got a string value that could not "
        f"be converted into {expected}.",
        name,
    )


def listed(values: Sequence[str], word: str) -> str:
    """'a', 'b', and 'c'."""
    quoted = [f"'{value}'" for value in values]
    if len(quoted) < 3:
        return f" {word} ".join(quoted)
    return f"{', '.join(quoted[:-1])}, {word} {quoted[-1]}"


def echo(value: object) -> str:
    """What the client sent, as far as it fits into a message."""
    text = str(value)
    return text if len(text) <= _LONGEST_ECHO else f"{text[:_LONGEST_ECHO]}…"
