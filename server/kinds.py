"""The kinds of parameters: what each accepts, and the exact words in which it refuses the rest.

A kind knows nothing of models or endpoints. `profiles` puts kinds together into tables.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from server import errors

_TYPE_NAMES: Sequence[tuple[type, str]] = (
    (bool, "a boolean"),  # before int, of which it is a subclass
    (int, "an integer"),
    (float, "a decimal number"),
    (str, "a string"),
    (list, "an array"),
    (dict, "an object"),
)
_LONGEST_ECHO = 100
_RANGE_ERRORS = {
    "integer": (errors.IntegerTooSmall, errors.IntegerTooLarge),
    "decimal": (errors.DecimalTooSmall, errors.DecimalTooLarge),
}


class Kind(Protocol):
    """One row of a profile's table of parameters."""

    def read(self, name: str, value: object) -> object:
        """The value as the server uses it; raises an InvalidRequest that names the parameter."""


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
class Integer:
    """A whole number in a range."""

    low: int
    high: int

    def read(self, name: str, value: object) -> int:
        """The number itself; neither a boolean nor a decimal is one."""
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong_type(name, "an integer", value)
        _check_range(name, value, self.low, self.high, "integer")
        return value


@dataclass(frozen=True, slots=True)
class OnlyOne:
    """The `n` of a model that makes one image at a time."""

    def read(self, name: str, value: object) -> int:
        """1."""
        if isinstance(value, int) and value > 1:
            raise errors.NotOneImage("You must provide n=1 for this model.")
        return Integer(1, 1).read(name, value)


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a range, whole or not."""

    low: float
    high: float

    def read(self, name: str, value: object) -> float:
        """The number as a float."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong_type(name, "a decimal number", value)
        _check_range(name, value, self.low, self.high, "decimal")
        return float(value)


@dataclass(frozen=True, slots=True)
class Boolean:
    """true or false."""

    def read(self, name: str, value: object) -> bool:
        """The boolean itself."""
        if not isinstance(value, bool):
            raise wrong_type(name, "a boolean", value)
        return value


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


def wrong_type(name: str, expected: str, value: object) -> errors.InvalidType:
    """The refusal of a value of another type than the one expected."""
    got = next(text for kind, text in _TYPE_NAMES if isinstance(value, kind))
    return errors.InvalidType(
        f"Invalid type for '{name}': expected {expected}, but got {got} instead.", name
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


def _check_range(name: str, value: float, low: float, high: float, word: str) -> None:
    too_small, too_large = _RANGE_ERRORS[word]
    if value < low:
        raise too_small(
            f"Invalid '{name}': {word} below minimum value. Expected a value >= {low}, "
            f"but got {echo(value)} instead.",
            name,
        )
    if value > high:
        raise too_large(
            f"Invalid '{name}': {word} above maximum value. Expected a value <= {high}, "
            f"but got {echo(value)} instead.",
            name,
        )
