"""Which languages a text may be in: by its letters, and within one script by a small classifier.

A text counts as read unless it surely is not: prompts are short, full of names and of words that
many languages share. Knows py3langid; not what a language is asked for.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from itertools import groupby
from unicodedata import name, normalize

from py3langid.langid import MODEL_FILE, LanguageIdentifier

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

_SPOKEN = frozenset(
    "af ar bg ca cs da de el en es et eu fa fi fr ga he hi hr hu id is it ja ko lt lv mk ms nl "
    "nn no pl pt ro ru sk sl sq sr sv th tl tr uk vi zh".split()
)
"""What a text is thought to be in, beside what a model reads: among rare languages, there is one
that looks like any two words."""

_SURE = 0.01
"""Below this likelihood of all the languages that are read, a text is foreign. Of 222 short English
prompts, many about Essex, Giambologna and tapas, 1 is; of 35 in 14 other languages, 33."""

_UNSPACED = frozenset({"CJK", "HIRAGANA", "KATAKANA", "THAI"})
_LETTERS_A_WORD = 2
_LOOKED_AT = 4_000
"""So many characters of a text: a request asks several times, beside all others."""
_LEAST_LETTERS = 4 * _LETTERS_A_WORD
"""Of a text that the classifier is asked about: shorter ones are names, and words on loan."""


def reads(languages: Iterable[str], text: str) -> bool:
    """Whether a text may be in one of these languages; one without any words is."""
    languages = list(languages)
    known = {script for language in languages for script in _scripts(language)}
    words = _words_by_script(text)
    familiar = sum(count for script, count in words.items() if script in known)
    letters = sum(words.values())
    if letters < _LEAST_LETTERS or 2 * familiar < letters:
        return 2 * familiar >= letters
    return _likelihood(languages, text) >= _SURE


def likeliest(languages: Iterable[str], text: str) -> str:
    """The one of these languages that most words of a text can be in, and that it may be in itself;
    the first of several."""
    words = _words_by_script(text)

    def fits(language: str) -> tuple[int, bool]:
        letters = sum(words.get(script, 0) for script in _scripts(language))
        return letters, reads((language,), text)

    return max(languages, key=fits)


def prepare() -> None:
    """Read the classifier: some tenths of a second, which nobody shall wait for later."""
    _identifier()


@cache
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@lru_cache(maxsize=16)
def _chances(text: str) -> dict[str, float]:
    """How likely a text is in each language that the classifier knows."""
    return dict(_identifier().rank(_plain(text)))


def _likelihood(languages: Iterable[str], text: str) -> float:
    """Of a text's being in one of these languages, if it is in one of them or a widespread one."""
    chances = _chances(text)
    known = set(languages)
    if not known <= chances.keys():
        return 1.0  # the classifier cannot know
    among = sum(chances.get(language, 0.0) for language in _SPOKEN | known)
    return sum(chances[language] for language in known) / among


def _scripts(language: str) -> frozenset[str]:
    return _SCRIPTS.get(language, _LATIN)


def _plain(text: str) -> str:
    """The beginning of a text, without full widths and ligatures, which can be many letters."""
    return normalize("NFKC", text[:_LOOKED_AT])[:_LOOKED_AT]


@lru_cache(maxsize=16)
def _words_by_script(text: str) -> Counter[str]:
    """About how many words there are in each script."""
    words: Counter[str] = Counter()
    for script, letters in groupby(map(_script, _plain(text))):
        if script:
            unspaced = script in _UNSPACED
            words[script] += sum(1 for _ in letters) if unspaced else _LETTERS_A_WORD
    return words


@lru_cache(maxsize=4096)
def _script(letter: str) -> str:
    """Empty for what is no letter."""
    return name(letter, "").partition(" ")[0] if letter.isalpha() else ""
