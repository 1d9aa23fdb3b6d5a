"""A long text in pieces that a CLIP reads whole, cut where it pauses.

Knows texts and tokenizers; not what is made of the pieces.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any

AT_MOST = 64
"""Pieces: 4,800 tokens, which no 4,000 English characters need."""

_PAUSES = re.compile(r"[.!?;:,\n。！？；：，、]\s*")
_SPACES = re.compile(r"\s+")


def cut(text: str, tokenizer: Any, at_most: int = AT_MOST) -> list[str]:
    """Pieces that are the text when they are joined, each within the tokenizer's length.

    `tokenizer` is a fast one. A piece ends behind a punctuation mark, if there is one in its second
    half, or else between two words, or else anywhere. The last of `at_most` has all the rest.
    """
    room = tokenizer.model_max_length - 2  # the start and the end of a text are tokens, too
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    starts = [start for start, _ in found["offset_mapping"]]
    pieces: list[str] = []
    begin = first = 0
    while len(starts) - first > room and len(pieces) < at_most - 1:
        end = _pause(text, starts[first + room // 2], starts[first + room])
        while len(tokenizer(text[begin:end], add_special_tokens=False)["input_ids"]) > room:
            end -= 1  # a word that is cut may be more tokens than it was
        pieces.append(text[begin:end])
        begin, first = end, bisect_left(starts, end)
    return [*pieces, text[begin:]]


def _pause(text: str, begin: int, end: int) -> int:
    """The last place to pause, behind `begin` and not behind `end`."""
    for places in (_PAUSES, _SPACES):
        if found := list(_ends(places, text, begin, end)):
            return found[-1]
    return end


def _ends(places: re.Pattern[str], text: str, begin: int, end: int) -> Iterator[int]:
    return (it.end() for it in places.finditer(text, begin, end) if it.end() > begin)
