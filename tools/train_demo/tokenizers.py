"""The two tokenizers: whole words of the demo's language; all other text vanishes.

Before it does, phrases that make a colour the background's are put into the words the models know:
"in front of a plain white wall" becomes "on white background".
"""

import re
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from . import words
from .language import ATTRIBUTES
from .scenes import COLOURS, KINDS, SIZES

PAD, START, END, UNKNOWN = "<pad>", "<start>", "<end>", "<unknown>"
REGISTERS = tuple(
    f"<{name.replace(' ', '_')}>" for name in ATTRIBUTES
)  # T5 gathers one attribute in each
MOST_WORDS = 20
CLIP_LENGTH = MOST_WORDS + 2
T5_LENGTH = len(REGISTERS) + MOST_WORDS + 1
THINGS = ("thing", "shape", "object")  # no words of the language; a colour before one is its own
JOINS = ("a", "an", "the", "and", "or", "with")  # no words of the language, and no adjectives
ON = ("on", "against")  # words of the language only before a colour


def english_words() -> list[str]:
    """Every English word and phrase of the language."""
    tables = (words.ENGLISH, words.ENGLISH_PLACES, words.ENGLISH_RELATIONS)
    found = [name for table in tables for names in table.values() for name in names]
    return [*found, *words.ENGLISH_BACKGROUND, *words.ENGLISH_BACKGROUND_FIRST]


def chinese_words() -> list[str]:
    """Every Chinese word of the language."""
    tables = (words.CHINESE, words.CHINESE_PLACES, words.CHINESE_RELATIONS)
    found = [name for table in tables for names in table.values() for name in names]
    return [*found, *words.CHINESE_BACKGROUND, *words.CHINESE_BACKGROUND_FIRST]


def pattern() -> str:
    """A regular expression that finds the language's words, the longest first."""
    colours = "|".join(re.escape(name) for colour in COLOURS for name in words.ENGLISH[colour])
    english = [name for name in english_words() if name not in ON]
    spelled = "|".join(re.escape(name) for name in sorted(english, key=len, reverse=True))
    drawn = "|".join(re.escape(name) for name in sorted(chinese_words(), key=len, reverse=True))
    before = f"(?:{'|'.join(ON)})(?= (?:an? |the )?(?:{colours})(?![a-z]))"
    return f"(?<![a-z])(?:(?:{spelled})(?![a-z])|{before})|{drawn}"


def alternatives(names: Iterable[str]) -> str:
    """A regular expression for one of the names, the longest first."""
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))


def rewordings() -> list[tuple[str, str]]:
    """Regular expressions on lower-case text, and what takes the place of their matches.

    No prompt of the training grammar matches any of them.
    """
    colour, colour_zh = (
        alternatives(name for colour in COLOURS for name in table[colour])
        for table in (words.ENGLISH, words.CHINESE)
    )
    shapes = [name for key in (*KINDS, *SIZES) for name in words.ENGLISH[key]]
    of_a_shape = f"(?! (?:{alternatives([*shapes, *THINGS])})(?![a-z]))"
    unknown = f"(?: (?!(?:{alternatives([*english_words(), *JOINS])})(?![a-z]))[a-z-]+)"
    before = f"(?= (?:{colour})(?![a-z]){of_a_shape})"
    placed, on = alternatives(words.ENGLISH_PREPOSITIONS), alternatives(ON)
    behind = f"(?:{alternatives(words.CHINESE_BEHIND)})(?:都|全)?是(?:一片|一面)?"
    return [
        (f"(?<![a-z])(?:{placed})(?: an?| the)?{unknown}{{0,2}}{before}", ON[0]),
        (f"(?<![a-z])(?:{on})(?: an?| the)?{unknown}{{1,2}}{before}", ON[0]),
        (f"(?<={colour}) (?:{alternatives(words.ENGLISH_GROUNDS)})(?![a-z])", " background"),
        (f"(?<={colour_zh})的?(?:{alternatives(words.CHINESE_GROUNDS)})", "背景"),
        (f"{behind}(?=纯?(?:{colour_zh}))", "背景是"),
    ]


def build(special: list[str], template: str, length: int, **roles: str) -> PreTrainedTokenizerFast:
    """A tokenizer that keeps only the language's words and frames them by the template."""
    known = sorted({*english_words(), *chinese_words()})
    vocabulary = {token: index for index, token in enumerate([*special, *known])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    spaces = normalizers.Replace(Regex(r"\s+"), " ")
    reworded = [normalizers.Replace(Regex(found), told) for found, told in rewordings()]
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), spaces, *reworded]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(
        Regex(pattern()), behavior="removed", invert=True
    )
    frame = [(token, vocabulary[token]) for token in special]
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=frame)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=length,
        pad_token=PAD,
        unk_token=UNKNOWN,
        padding_side="right",
        **roles,
    )


def clip_tokenizer() -> PreTrainedTokenizerFast:
    """For CLIP: <start>, the words, <end>."""
    special = [PAD, UNKNOWN, START, END]
    return build(special, f"{START} $A {END}", CLIP_LENGTH, bos_token=START, eos_token=END)


def t5_tokenizer() -> PreTrainedTokenizerFast:
    """For T5: one register for each attribute, the words, <end>."""
    special = [PAD, UNKNOWN, END, *REGISTERS]
    return build(special, f"{' '.join(REGISTERS)} $A {END}", T5_LENGTH, eos_token=END)
