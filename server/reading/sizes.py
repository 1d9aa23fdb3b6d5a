"""The `size` parameter: three sets of rules, each read into (width, height), or None for `auto`.

Knows what may be asked for. What a model renders to get there is decided in `plan`.
"""

import re
from dataclasses import dataclass

from server import errors
from server.reading.kinds import Choice, echo, wrong_type

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ListedSize:
    """One of a few sizes, or `auto`."""

    values: tuple[str, ...]

    def read(self, name: str, value: object) -> Size | None:
        """The size in pixels."""
        return _pixels(Choice(self.values).read(name, value))


@dataclass(frozen=True, slots=True)
class FixedSize:
    """One of a few sizes, refused in the one sentence that DALL·E has for it."""

    values: tuple[str, ...]

    def read(self, name: str, value: object) -> Size | None:
        """The size in pixels."""
        if isinstance(value, str) and value not in self.values:
            raise errors.UnsupportedSize("The size is not supported by this model.")
        return _pixels(Choice(self.values).read(name, value))


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeSize:
    """Any WIDTHxHEIGHT within limits, or `auto`."""

    shortest: int
    longest: int
    multiple: int = 1
    fewest_pixels: int = 0
    most_pixels: int | None = None
    steepest: float | None = None
    """The longer edge over the shorter one."""

    def read(self, name: str, value: object) -> Size | None:
        """The size in pixels."""
        if not isinstance(value, str):
            raise wrong_type(name, "a string", value)
        if value == "auto":
            return None
        size = _pixels(value)
        if size is None:
            raise errors.UnsuitableSize(
                f"Invalid size '{echo(value)}'. Expected WIDTHxHEIGHT, for example '1824x1024'.",
                name,
            )
        complaint = self._complaint(*size)
        if complaint:
            raise errors.UnsuitableSize(f"Invalid size '{echo(value)}'. {complaint}", name)
        return size

    def _complaint(self, width: int, height: int) -> str | None:
        short, long = sorted((width, height))
        if width % self.multiple or height % self.multiple:
            return f"Width and height must both be divisible by {self.multiple}."
        if long > self.longest:
            return f"The longest edge must be less than or equal to {self.longest}."
        if short < self.shortest:
            return f"The shortest edge must be greater than or equal to {self.shortest}."
        if self.steepest and long > self.steepest * short:
            return f"The longer edge must be at most {self.steepest:g} times the shorter one."
        if width * height < self.fewest_pixels:
            return "Requested resolution is below the current minimum pixel budget."
        if self.most_pixels and width * height > self.most_pixels:
            return "Requested resolution is above the current maximum pixel budget."
        return None


def _pixels(text: str) -> Size | None:
    match = re.fullmatch(r"([0-9]{1,6})x([0-9]{1,6})", text)
    return (int(match[1]), int(match[2])) if match else None
