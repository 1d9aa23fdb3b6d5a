"""Lists of terms: what is found, what only looks like it, and how a list is read."""

import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines.content import CATEGORIES, shipped_lists
from server.config import ConfigError
from server.prompts.terms import STRICTNESSES, Terms, read_terms

HARMLESS = (Path(__file__).parent / "harmless.txt").read_text(encoding="utf-8").splitlines()
ROOT = shipped_lists()


@pytest.fixture(scope="module")
def shipped() -> Terms:
    return read_terms([ROOT])


@pytest.fixture
def terms(tmp_path: Path) -> Callable[..., Terms]:
    """The terms of lists, by category."""

    def read(**lists: str) -> Terms:
        for name, text in lists.items():
            (tmp_path / f"{name.replace('_', '-')}.txt").write_text(text, encoding="utf-8")
        return read_terms([tmp_path])

    return read


def listed(language: str) -> Iterator[tuple[str, str]]:
    """The category and the text of every term that counts by default, as it stands in its file."""
    for file in (ROOT / language).glob("*.txt"):
        heading = "auto"
        for line in file.read_text(encoding="utf-8").splitlines():
            line = line.partition("#")[0].strip()
            if line.startswith("["):
                heading = line.strip("[]")
            elif line and heading in ("low", "auto"):
                yield file.stem, line.removesuffix("*")


def full_width(text: str) -> str:
    return "".join(chr(ord(it) + 0xFEE0) if "!" <= it <= "~" else it for it in text)


def mixed(text: str) -> str:
    rng = random.Random(text)
    return "".join(rng.choice((it.upper(), it.lower())) for it in text)


SPELLINGS: dict[str, Callable[[str], str]] = {
    "as listed": str,
    "mixed case": mixed,
    "full width": full_width,
    "with soft hyphens": "\u00ad".join,
    "with zero-width spaces": "\u200b".join,
    "with accents": lambda text: "".join(f"{it}\u0301" if it.isalpha() else it for it in text),
}
IN_PIECES: dict[str, Callable[[str], str]] = {
    "spaced": " ".join,
    "dotted": ".".join,
    "dashed": "-".join,
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_listed_term_is_caught(shipped: Terms, spelling: str) -> None:
    for category, term in [*listed("en"), *listed("zh")]:
        written = SPELLINGS[spelling](term)
        for text in (written, f"a picture, {written}. In oil", f"一张{written}图"):
            found = {it.replace("/", "-"): at for it, at in shipped.find(text).items()}
            assert found.get(category) in ("low", "auto"), text


@pytest.mark.parametrize("spelling", IN_PIECES)
def test_listed_words_are_caught_in_pieces(shipped: Terms, spelling: str) -> None:
    words = [(c, t) for c, t in [*listed("en"), *listed("zh")] if re.fullmatch(r"\w{3,}", t)]
    assert len(words) > 100
    for category, term in words:
        written = IN_PIECES[spelling](term)
        for text in (written, f"a {written} picture", f"这张 {written} 好看"):
            found = {it.replace("/", "-") for it in shipped.find(text)}
            assert category in found, text


@pytest.mark.parametrize("filler", [*"\u00ad\u034f\u115f\u1160\u180e\u200b\u3164\ufe0f\uffa0"])
def test_what_shows_nothing_hides_nothing(shipped: Terms, filler: str) -> None:
    for text in (filler.join("nude"), f"po{filler}rn", f"裸{filler}体"):
        assert "sexual" in shipped.find(f"a {text} here"), ascii(text)


@pytest.mark.parametrize("term", ["p0rn", "n4ked w0man", "H3NT41", "裸.体", "裸 体女人"])
def test_some_more_disguises(shipped: Terms, term: str) -> None:
    assert "sexual" in shipped.find(f"a {term} here")


def test_harmless_sentences_pass(shipped: Terms) -> None:
    assert len(HARMLESS) > 200
    blocked = {
        line: found
        for line in HARMLESS
        if (found := {it for it, at in shipped.find(line).items() if at != "strict"})
    }
    assert not blocked


def test_letters_of_harmless_sentences_would_be_caught_without_the_rules() -> None:
    """Or the sentences would show nothing."""
    text = " ".join(HARMLESS).lower()
    for part in ("nude", "naked", "rape", "porn", "lynch", "gore", "性交", "做爱", "强奸", "割腕"):
        assert part in text


def test_minors_beside_anything_sexual_count_always(shipped: Terms) -> None:
    for text in ("a naked child", "sexy, 12 year old", "性感的小学生", "a lingerie ad, 未成年"):
        assert shipped.find(text)["sexual/minors"] == "low"
    for text in ("a child", "a 12 year old", "小学生", "same sex parents with their children"):
        assert not shipped.find(text)


def test_the_shipped_lists_name_every_category_in_both_languages() -> None:
    for language in ("en", "zh"):
        names = {file.stem for file in (ROOT / language).glob("*.txt")}
        assert names == {it.replace("/", "-") for it in CATEGORIES}


def test_headings_say_from_when_on_a_term_counts(terms: Callable[..., Terms]) -> None:
    mine = terms(violence="usual\n[low]\nworst  # a comment\n[strict]\nmild\n[auto]\nmore")
    assert len(mine) == 4
    for word, at in {"usual": "auto", "worst": "low", "mild": "strict", "more": "auto"}.items():
        assert mine.find(word) == {"violence": at}
    assert mine.find("mild usual") == {"violence": "auto"}
    assert mine.find("a comment") == {}


def test_a_star_is_for_every_ending(terms: Callable[..., Terms]) -> None:
    mine = terms(violence="fight*\nold sword")
    assert all(mine.find(it) for it in ("fight", "fighters", "old sword", "OLD, sword"))
    assert not any(mine.find(it) for it in ("firefight", "old swords", "bold sword", "oldsword"))


def test_exceptions_are_of_their_category_and_of_what_they_cover(
    terms: Callable[..., Terms],
) -> None:
    mine = terms(violence="fight\n[except]\nfight club\nno fight", hate="fight")
    assert mine.find("a fight club") == {"hate": "auto"}
    assert set(mine.find("fight club fight")) == {"violence", "hate"}


def test_terms_beside_another_category(terms: Callable[..., Terms]) -> None:
    mine = terms(violence_graphic="[with violence]\nred", violence="[strict]\nfight")
    assert mine.find("red") == {}
    assert mine.find("a fight in red") == {"violence": "strict", "violence/graphic": "low"}


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("nonsense", "a term", "is called after none of the categories"),
        ("hate", "fine\n[often]\n", "line 2: [often] is no heading"),
        ("hate", "[with nonsense]", "there is no category 'nonsense'"),
        ("hate", "a", "has too few letters"),
        ("hate", "*", "has too few letters"),
        ("hate", "in*side", "a * is for the end"),
    ],
)
def test_mistakes_are_told_with_file_and_line(
    terms: Callable[..., Terms], tmp_path: Path, name: str, text: str, told: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)) as error:
        terms(**{name: text})
    assert str(tmp_path / name) in str(error.value)


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    for name in ("policy", "hate.txt"):
        with pytest.raises(ConfigError, match=f"{name}: there is no such list of terms"):
            read_terms([tmp_path / name])


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there are no lists"):
        read_terms([tmp_path])
    (tmp_path / "hate.txt").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_terms([tmp_path])


def test_without_lists_nothing_is_found() -> None:
    nothing = read_terms([])
    assert len(nothing) == 0 and nothing.find("anything") == {}


def test_many_terms_and_hostile_texts_are_no_matter(terms: Callable[..., Terms]) -> None:
    """It would not end if it were not linear: there are no timings here."""
    words = "\n".join(f"term{number}*" for number in range(5000))
    mine = terms(
        hate=f"{words}\n性交\n[except]\n性交流\naa", violence="a" * 50 + "\n" + "a b " * 20
    )
    for text in (
        "term1 " * 6000,
        "性交流" * 11_000,
        "a " * 16_000,
        "a" * 32_000,
        "\ud800" * 32_000,
    ):
        for at in mine.find(text).values():
            assert at in STRICTNESSES
