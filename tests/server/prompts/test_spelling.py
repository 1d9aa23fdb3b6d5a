"""How a text can be read: folded, respelled, joined; in time that grows with its length alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.prompts.spelling import is_whole, plain, readings


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("A Red CIRCLE!", "a red circle"),
        ("ＦＵＬＬ　ｗｉｄｔｈ", "full width"),
        ("sо\u00adft", "sоft"),
        ("ze\u200bro\u200d wi\ufeffdth", "zero width"),
        ("Café, naïve", "cafe naive"),
        ("c\u0301o\u0334\u0336v\u0489er", "cover"),
        ("Straße", "strasse"),
        ("红色，圆形。", "红色 圆形"),
        ("红*色", "红色"),
        ("snake_case-word", "snake case word"),
        ("", ""),
        ("…!?", ""),
    ],
)
def test_what_is_written_differently_is_folded(text: str, told: str) -> None:
    assert plain(text) == told


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("c i r c l e", "circle"),
        ("a c.i.r.c.l.e here", "a circle here"),
        ("C-I-R-C-L-E", "circle"),
        ("c1rc13", "circie"),
        ("$t4r", "star"),
        ("红 色 圆 形", "红色圆形"),
        ("红 色圆形", "红色圆形"),
    ],
)
def test_disguises_are_taken_off(text: str, read: str) -> None:
    assert read in readings(text)


def test_a_plain_text_is_read_once() -> None:
    assert readings("a large red circle") == ["a large red circle"]


@pytest.mark.parametrize("text", ["A55 road", "12 34", "4k", "R2"])
def test_numbers_stay_numbers(text: str) -> None:
    assert readings(text) == [plain(text)]


def test_a_part_is_whole_between_spaces_or_beside_signs() -> None:
    assert is_whole("a red circle", 2, 5)
    assert not is_whole("hundred circles", 4, 7)
    assert not is_whole("redder", 0, 3)
    assert is_whole("redder", 0, 3, open_ended=True)
    assert is_whole("一个red圆", 2, 5)
    assert is_whole("大红色圆", 1, 3)


@given(st.text(st.characters(exclude_categories=()), max_size=200))
def test_any_text_can_be_read(text: str) -> None:
    """Half surrogate pairs, too."""
    for reading in readings(text):
        assert "  " not in reading and reading == reading.strip()


@pytest.mark.parametrize("letter", ["\ufdfa", "㌀", "a ", "a\u0301", "\ud800", "红 ", "1a"])
def test_a_text_does_not_unfold_to_many_times_itself(letter: str) -> None:
    assert sum(map(len, readings(letter * 1000))) <= 4 * 6 * 1000 * len(letter)
