"""Texts in pieces: nothing lost, nothing too long, cut where the text pauses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from pipelines.pieces import AT_MOST, cut
from tests import tiny

ROOM = 75
"""Tokens of a piece; with this tokenizer, a byte that is no space is one."""


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return tiny._clip_tokenizer()


def length(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


def test_what_fits_is_one_piece(tokenizer: PreTrainedTokenizerBase) -> None:
    assert cut("", tokenizer) == [""]
    assert cut("x" * ROOM, tokenizer) == ["x" * ROOM]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("marble, " * 12, ["marble, " * 10, "marble, " * 2]),
        ("marble " * 14, ["marble " * 12, "marble " * 2]),
        ("x" * 80, ["x" * 75, "x" * 5]),
        ("红色圆形," * 6, ["红色圆形," * 5, "红色圆形,"]),
        ("红" * 30, ["红" * 25, "红" * 5]),
        ("one, " + "marble " * 13, ["one, " + "marble " * 11, "marble " * 2]),
    ],
    ids=["marks", "spaces", "one word", "Chinese", "Chinese without marks", "an early mark"],
)
def test_where_it_is_cut(text: str, pieces: list[str], tokenizer: PreTrainedTokenizerBase) -> None:
    assert cut(text, tokenizer) == pieces


@given(text=st.text(max_size=600), at_most=st.integers(1, 9))
def test_any_text(text: str, at_most: int) -> None:
    tokenizer = tiny._clip_tokenizer()
    pieces = cut(text, tokenizer, at_most)
    assert "".join(pieces) == text
    assert len(pieces) <= at_most
    assert all(0 < length(tokenizer, piece) <= ROOM for piece in pieces[:-1])
    assert len(pieces) == at_most or length(tokenizer, pieces[-1]) <= ROOM


def test_the_last_piece_has_the_rest(tokenizer: PreTrainedTokenizerBase) -> None:
    *pieces, rest = cut("marble " * 2000, tokenizer)
    assert len(pieces) == AT_MOST - 1
    assert length(tokenizer, rest) == 12_000 - 72 * len(pieces)
