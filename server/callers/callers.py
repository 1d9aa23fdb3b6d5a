"""Who asks, and what they may: plain data, and its form in text.

Knows nothing of keys, or of how a limit is held.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from math import inf
from typing import Any, get_args

from pipelines.content import MODES, Mode
from pipelines.core import Priority
from server.config import ConfigError

PRIORITIES: tuple[str, ...] = get_args(Priority)
_MOST = 1_000_000_000
"""Of a limit: what is more is a slip, and would not fit into the file of keys."""


@dataclass(frozen=True, slots=True)
class Caller:
    """One who asks; the default is anyone, of whom nothing is known. Raises ConfigError."""

    name: str = ""
    weight: float = 1.0
    """The share of the devices, against those of others."""
    priority: Priority = "normal"
    images_per_minute: int | None = None
    in_queue: int | None = None
    """How many images may wait or run at once."""
    admin: bool = False
    """Whether the usage of others may be seen."""
    policy: Mode | None = None
    """How the content policy is applied; None: as to everyone."""

    def __post_init__(self) -> None:
        if len(self.name) > 100 or not self.name.isprintable() or self.name != self.name.strip():
            raise ConfigError("a name is at most 100 printable characters")
        if not 0 < self.weight < inf:
            raise ConfigError(f"weight must be a number above 0, not {self.weight}")
        if self.priority not in PRIORITIES:
            raise ConfigError(f"priority must be {', '.join(PRIORITIES)}, not {self.priority}")
        if self.policy is not None and self.policy not in MODES:
            raise ConfigError(f"policy must be {', '.join(MODES)}, not {self.policy}")
        for name, limit in (
            ("images-per-minute", self.images_per_minute),
            ("in-queue", self.in_queue),
        ):
            if limit is not None and not 1 <= limit <= _MOST:
                raise ConfigError(f"{name} must be between 1 and {_MOST}, not {limit}")

    @property
    def sees_all(self) -> bool:
        """Whether it may see what others have used: an admin, and anyone without keys."""
        return self.admin or not self.name

    @property
    def most_at_once(self) -> float:
        """The images of the largest request that could ever be accepted."""
        return min(self.images_per_minute or inf, self.in_queue or inf)


_ATTRIBUTES: Mapping[str, Callable[[str], Any]] = {
    "weight": float,
    "priority": str,
    "images-per-minute": int,
    "in-queue": int,
    "admin": lambda text: {"true": True, "false": False}[text],
    "policy": str,
}
_ATTRIBUTE = re.compile(r"\s+([\w-]+)=(\S*)$")


def split_attributes(text: str) -> tuple[str, dict[str, Any]]:
    """What stands before `weight=2 priority=low …`, and these; raises ConfigError."""
    attributes: dict[str, Any] = {}
    while found := _ATTRIBUTE.search(text):
        name, value = found.groups()
        before = text[: found.start()]
        if name not in _ATTRIBUTES:
            if before.endswith(":"):
                break  # it is the key, which may end in `=` itself
            raise _unknown(name)
        try:
            attributes[name.replace("-", "_")] = _ATTRIBUTES[name](value)
        except (KeyError, ValueError):
            raise ConfigError(f"{name}={value} is not understood") from None
        text = before
    return text, attributes


def _unknown(name: str) -> ConfigError:
    """Names a slip of the pen, and nothing else: it may be a key."""
    slip = get_close_matches(name, _ATTRIBUTES, n=1)
    what = f"there is no {name}=" if slip else "what stands behind the key is not understood"
    return ConfigError(f"{what}; there are {', '.join(_ATTRIBUTES)}")


def described(caller: Caller) -> Iterable[tuple[str, str]]:
    """The attributes that are not those of anyone, as they are written."""
    usual = Caller()
    for name in _ATTRIBUTES:
        value = getattr(caller, name.replace("-", "_"))
        if value != getattr(usual, name.replace("-", "_")):
            yield name, f"{value:g}" if isinstance(value, float) else str(value).lower()
