"""The ways in which a text can be read: folded to plain words, and with its disguises taken off.

Pure functions, linear in the text. Knows scripts and spellings; not which words are looked for.
"""

import re
import unicodedata

# Scripts that are written without spaces: kana, Han, and what comes between them.
_UNSPACED = "\u2e80-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_is_unspaced = re.compile(f"[{_UNSPACED}]").match

_UNSEEN = frozenset({"Mn", "Me", "Cf"})
"""Categories of characters that only change those before them, or show nothing."""
_FILLERS = re.compile("[\u115f\u1160]")
"""Letters of Hangul that show nothing, in their plain form."""
_WORDS_OF_MANY = re.compile("[\ufdfa\ufdfb]")
"""Ligatures that stand for sentences: a text of them would unfold to eighteen times itself."""
_NO_LETTERS = re.compile(r"[\W_]+")
_BETWEEN_SIGNS = re.compile(rf"(?<=[{_UNSPACED}])[.*_·|~^-]{{1,3}}(?=[{_UNSPACED}])")
_GAPS = re.compile(rf"(?<=[{_UNSPACED}])\s{{1,2}}(?=[{_UNSPACED}])")
_MIXED = re.compile(r"[a-z0-9@$]{4,}")
_LOOKS_LIKE = str.maketrans("013457@$", "oieastas")
_SINGLES = re.compile(r"(?<![^ ])\w(?: \w(?![^ ]))+")


def plain(text: str) -> str:
    """Lower-case letters, signs and digits of their usual width, with a space for all between."""
    return _spaced(_folded(text))


def readings(text: str) -> list[str]:
    """What a text can be read as, each in the form of `plain`; usually one.

    Digits in words are read as the letters that they look like, signs that are written without
    spaces as if there were none, and characters that stand one by one as the word that they spell,
    with or without an `a` or `i` before it.
    """
    folded = _folded(text)
    respelled = _spaced(_MIXED.sub(_letters, _GAPS.sub("", folded)))
    joined = _SINGLES.sub(lambda found: found[0].replace(" ", ""), respelled)
    split = _SINGLES.sub(_after_article, respelled)
    return list(dict.fromkeys((_spaced(folded), respelled, joined, split)))


def is_unspaced(text: str) -> bool:
    """Whether a part of a text like this one is whole wherever it stands."""
    return bool(_is_unspaced(text[0]) and _is_unspaced(text[-1]))


def is_whole(text: str, start: int, end: int, open_ended: bool = False) -> bool:
    """Whether a plain text's part is of whole words; `open_ended`: its last one may go on.

    Where there are no spaces between words, every part is.
    """
    begins = start == 0 or not _goes_on(text[start - 1], text[start])
    return begins and (open_ended or end == len(text) or not _goes_on(text[end - 1], text[end]))


def _goes_on(left: str, right: str) -> bool:
    """Whether two neighbours are of one word."""
    return " " not in (left, right) and not (_is_unspaced(left) or _is_unspaced(right))


def _folded(text: str) -> str:
    wide = unicodedata.normalize("NFKD", _WORDS_OF_MANY.sub(" ", text)).casefold()
    if not wide.isascii():
        wide = "".join(it for it in wide if unicodedata.category(it) not in _UNSEEN)
        wide = _FILLERS.sub("", wide)
    return _BETWEEN_SIGNS.sub("", wide)


def _spaced(folded: str) -> str:
    return _NO_LETTERS.sub(" ", folded).strip()


def _letters(found: re.Match[str]) -> str:
    """A word with digits in it, unless these are most of it."""
    word = found[0]
    return word.translate(_LOOKS_LIKE) if 2 * sum(map(str.isalpha, word)) >= len(word) else word


def _after_article(found: re.Match[str]) -> str:
    word = found[0].replace(" ", "")
    return f"{word[0]} {word[1:]}" if word[0] in "ai" else word
