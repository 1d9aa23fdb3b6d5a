"""The known name that a requested model name stands for: prefixes, snapshots, and newer versions.

OpenAI's names come in lines (`gpt-image-…`), with versions (`2.5`), variants (`flare`, `mini`) and
dates of snapshots. Clients send names that are newer than any list.
"""

import re
from collections.abc import Collection
from math import inf

PUBLISHED = frozenset(
    {
        "gpt-image-1.5",
        "gpt-image-2",
        "gpt-image-2-2026-04-21",
        "gpt-image-2.5-sunburst",
        "gpt-image-2.5-sunburst-2026-09-08",
        "gpt-image-2.5-flare",
        "gpt-image-2.5-flare-2026-09-08",
        "gpt-image-2.6-sunburst",
        "gpt-image-2.6-flare",
        "gpt-image-1",
        "gpt-image-1-mini",
        "chatgpt-image-latest",
        "dall-e-2",
        "dall-e-3",
    }
)
"""The names that OpenAI's own clients list: openai-python 3.57."""

_PREFIX = "openai/"
_DATE = re.compile(r"-20\d\d-[01]\d-[0-3]\d$")
_LINE = re.compile(r"(gpt-image|chatgpt-image|dall-e)-(\d+(?:\.\d+)?|[a-z]\w*)(?:-(.+))?", re.ASCII)
_WORD = (-1,)
"""The version of a name that has a word in its place."""
_Version = tuple[float, ...]


def undated(name: str) -> str:
    """A name without the prefix of its provider and the date of its snapshot."""
    return _DATE.sub("", name.removeprefix(_PREFIX))


def known_name(name: str, known: Collection[str]) -> str | None:
    """The one of the known names that a name stands for; None if there is none.

    The name itself; without `openai/`; without its date; or the newest known name of its line,
    unless that is newer than the name.
    """
    for candidate in (name, name.removeprefix(_PREFIX), undated(name)):
        if candidate in known:
            return candidate
    return _newest(undated(name), known)


def _newest(name: str, known: Collection[str]) -> str | None:
    asked = _LINE.fullmatch(name)
    if asked is None:
        return None
    line, text, variant = asked.groups()
    version, latest = _version(line, text), _version(line, "latest")
    names = [it for it in map(_LINE.fullmatch, known) if it and it[1] == line]
    names = [it for it in names if _WORD < _version(line, it[2]) < latest or version == latest]
    if not names or version < max(_version(line, it[2]) for it in names):
        return None

    def order(it: re.Match[str]) -> tuple[_Version, bool, bool, str]:
        return _version(line, it[2]), it[3] == variant, it[3] is None, it[0]

    return max(names, key=order)[0]


def _version(line: str, text: str) -> _Version:
    """The numbers of a version; `latest` is above all of them, and a mere word below.

    The line `chatgpt-image` has no versions: every name of it is the latest.
    """
    if line == "chatgpt-image" or text == "latest":
        return (inf,)
    return tuple(map(int, text.split("."))) if text[0].isdigit() else _WORD
