"""Lists of terms -> what a text is found to be about, by category.

A list is a plain file that an operator edits, called after its category (`sexual-minors.txt`): a
term a line, `*` at the end of one for every ending, `#` before a comment, under headings:

    [low] [auto] [strict]   from which strictness on these count; [auto] where there is no heading
    [with CATEGORY]         these count always, and only beside a term of that category
    [except]                in these, terms of the same category say nothing

Knows files and words; not who asked, nor what follows.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import cast, get_args

import ahocorasick

from pipelines.content import CATEGORIES, Category
from pipelines.core import Strictness
from server.config import ConfigError
from server.prompts.spelling import is_unspaced, is_whole, plain, readings
from server.text_files import read_lines

Found = Mapping[Category, Strictness]
"""The categories of a text, each with the least strictness at which it counts."""

STRICTNESSES: tuple[Strictness, ...] = get_args(Strictness)
_FILES: Mapping[str, Category] = {it.replace("/", "-"): it for it in CATEGORIES}
_HEADING = re.compile(r"\[(?:(low|auto|strict)|with ([a-z/-]+)|(except))\]")


@dataclass(frozen=True, slots=True)
class Rule:
    """What one line says of its term."""

    category: Category
    counts: Strictness | None = "auto"
    """None: it says that the term says nothing."""
    beside: Category | None = None
    open_ended: bool = False


class Terms:
    """All lists together. Finding is linear in the text, however many terms there are."""

    def __init__(self, lines: Iterable[tuple[str, Rule]]) -> None:
        rules: dict[str, list[Rule]] = {}
        for term, rule in lines:
            rules.setdefault(term, []).append(rule)
        self._automaton = ahocorasick.Automaton()
        for term, its in rules.items():
            self._automaton.add_word(term, (len(term), is_unspaced(term), its))
        self._automaton.make_automaton()
        self._count = sum(rule.counts is not None for its in rules.values() for rule in its)

    def __len__(self) -> int:
        """How many terms there are."""
        return self._count

    def find(self, text: str) -> Found:
        """What a text is about."""
        if not self._count:
            return {}
        said = {rule for reading in readings(text) for rule in self._said(reading)}
        found: dict[Category, Strictness] = {}
        for rule in said:
            if rule.counts and not rule.beside:
                found[rule.category] = _least(found.get(rule.category), rule.counts)
        alone = frozenset(found)
        return found | {rule.category: "low" for rule in said if rule.beside in alone}

    def _said(self, reading: str) -> set[Rule]:
        """The rules that hold for a plain text."""
        terms: dict[Category, list[tuple[int, int, Rule]]] = {}
        excepted: dict[Category, list[tuple[int, int]]] = {}
        for last, (length, anywhere, rules) in self._automaton.iter(reading):
            start, end = last + 1 - length, last + 1
            for rule in rules:
                if anywhere or is_whole(reading, start, end, rule.open_ended):
                    if rule.counts:
                        terms.setdefault(rule.category, []).append((start, end, rule))
                    else:
                        excepted.setdefault(rule.category, []).append((start, end))
        return {
            rule
            for category, hits in terms.items()
            for rule in _outside(excepted.get(category, []), hits)
        }


def _outside(spans: list[tuple[int, int]], hits: list[tuple[int, int, Rule]]) -> Iterator[Rule]:
    """The rules of those hits that lie in none of the spans."""
    spans.sort()
    starts = [start for start, _ in spans]
    reach = list(accumulate((end for _, end in spans), max))
    for start, end, rule in hits:
        before = bisect_right(starts, start)
        if not before or reach[before - 1] < end:
            yield rule


def _least(one: Strictness | None, other: Strictness) -> Strictness:
    return min(one or other, other, key=STRICTNESSES.index)


def read_terms(places: Iterable[Path]) -> Terms:
    """The lists in files and folders; raises ConfigError with the file and line of a mistake."""
    return Terms(line for place in places for file in _files(place) for line in _lines(file))


def _files(place: Path) -> list[Path]:
    if not place.exists():
        raise ConfigError(f"{place}: there is no such list of terms, and no such folder of lists")
    files = sorted(place.rglob("*.txt")) if place.is_dir() else [place]
    if not files:
        raise ConfigError(f"{place}: there are no lists of terms in it")
    return files


def _lines(file: Path) -> Iterator[tuple[str, Rule]]:
    if file.stem not in _FILES:
        raise ConfigError(f"{file}: is called after none of the categories {', '.join(_FILES)}")
    heading = Rule(_FILES[file.stem])
    try:
        lines = read_lines(file)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from error
    for number, line in enumerate(lines, start=1):
        said = line.partition("#")[0].strip()
        try:
            if said.startswith("["):
                heading = _heading(said, heading.category)
            elif said:
                yield _term(said, heading)
        except ConfigError as error:
            raise ConfigError(f"{file}: line {number}: {error}") from None


def _heading(said: str, category: Category) -> Rule:
    found = _HEADING.fullmatch(said)
    if not found:
        raise ConfigError(f"{said} is no heading: [low], [auto], [strict], [with …] or [except]")
    counts, beside, _ = found.groups()
    if beside is not None:
        if beside not in CATEGORIES:
            raise ConfigError(f"there is no category '{beside}'")
        return Rule(category, "low", cast(Category, beside))
    return Rule(category, cast(Strictness | None, counts))


def _term(said: str, heading: Rule) -> tuple[str, Rule]:
    open_ended = said.endswith("*")
    term = plain(said)
    if len(term) < 2:
        raise ConfigError(f"'{said}' has too few letters to be a term")
    if "*" in said[:-1]:
        raise ConfigError(f"'{said}': a * is for the end of a term")
    return term, Rule(heading.category, heading.counts, heading.beside, open_ended)
