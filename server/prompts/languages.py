"""Which languages a text may be in, told by its letters alone. Pure.

Exact enough to tell Chinese from English; two languages in one script are not told apart, and so
nothing in Latin letters is ever taken for foreign by a model that reads any of them.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import groupby
from unicodedata import name, normalize

_LATIN = frozenset({"LATIN"})
_CYRILLIC, _ARABIC = frozenset({"CYRILLIC"}), frozenset({"ARABIC"})
_NAGARI = frozenset({"DEVANAGARI"})
_SCRIPTS: Mapping[str, frozenset[str]] = {
    "zh": frozenset({"CJK", "BOPOMOFO"}),
    "ja": frozenset({"CJK", "HIRAGANA", "KATAKANA"}),
    "ko": frozenset({"HANGUL"}),
    "el": frozenset({"GREEK"}),
    "he": frozenset({"HEBREW"}),
    "th": frozenset({"THAI"}),
    "bn": frozenset({"BENGALI"}),
    "ta": frozenset({"TAMIL"}),
    "te": frozenset({"TELUGU"}),
    "ka": frozenset({"GEORGIAN"}),
    "hy": frozenset({"ARMENIAN"}),
    **dict.fromkeys(("ru", "uk", "be", "bg", "mk", "sr", "kk"), _CYRILLIC),
    **dict.fromkeys(("ar", "fa", "ur"), _ARABIC),
    **dict.fromkeys(("hi", "mr", "ne"), _NAGARI),
}
"""How a language is written, in the words of Unicode's names; in Latin letters, if not here."""

_UNSPACED = frozenset({"CJK", "HIRAGANA", "KATAKANA", "THAI"})
_LETTERS_A_WORD = 2


def reads(languages: Iterable[str], text: str) -> bool:
    """Whether most words of a text are in letters of these languages; a text without any is."""
    known = {script for language in languages for script in _scripts(language)}
    words = _words_by_script(text)
    familiar = sum(count for script, count in words.items() if script in known)
    return 2 * familiar >= sum(words.values())


def likeliest(languages: Iterable[str], text: str) -> str:
    """The one of these languages that most words of a text can be in; the first, if several."""
    words = _words_by_script(text)
    return max(languages, key=lambda it: sum(words.get(script, 0) for script in _scripts(it)))


def _scripts(language: str) -> frozenset[str]:
    return _SCRIPTS.get(language.partition("-")[0].lower(), _LATIN)


def _words_by_script(text: str) -> Counter[str]:
    """About how many words there are in each script."""
    words: Counter[str] = Counter()
    for script, letters in groupby(map(_script, normalize("NFKC", text))):
        if script:
            unspaced = script in _UNSPACED
            words[script] += sum(1 for _ in letters) if unspaced else _LETTERS_A_WORD
    return words


@lru_cache(maxsize=4096)
def _script(letter: str) -> str:
    """Empty for what is no letter."""
    return name(letter, "").partition(" ")[0] if letter.isalpha() else ""
