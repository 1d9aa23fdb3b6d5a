from typing import Any

import pytest

from server import errors
from server.kinds import Anything, Boolean, Choice, Integer, Kind, Number, OnlyOne, Text, listed

WORDS = Choice(("low", "medium", "high", "auto"))


@pytest.mark.parametrize(
    ("kind", "value", "error", "message"),
    [
        (Integer(1, 10), 0, errors.IntegerTooSmall,
         "Invalid 'x': integer below minimum value. Expected a value >= 1, but got 0 instead."),
        (Integer(1, 10), 11, errors.IntegerTooLarge,
         "Invalid 'x': integer above maximum value. Expected a value <= 10, but got 11 instead."),
        (Integer(1, 10), "3", errors.InvalidType,
         "Invalid type for 'x': expected an integer, but got a string instead."),
        (Integer(1, 10), 3.0, errors.InvalidType,
         "Invalid type for 'x': expected an integer, but got a decimal number instead."),
        (Integer(1, 10), True, errors.InvalidType,
         "Invalid type for 'x': expected an integer, but got a boolean instead."),
        (Number(0, 100), -0.5, errors.DecimalTooSmall,
         "Invalid 'x': decimal below minimum value. Expected a value >= 0, but got -0.5 instead."),
        (Number(0, 100), 1e999, errors.DecimalTooLarge,
         "Invalid 'x': decimal above maximum value. Expected a value <= 100, but got inf instead."),
        (Number(0, 100), 10**400, errors.DecimalTooLarge, None),
        (Number(0, 100), False, errors.InvalidType,
         "Invalid type for 'x': expected a decimal number, but got a boolean instead."),
        (Boolean(), 1, errors.InvalidType,
         "Invalid type for 'x': expected a boolean, but got an integer instead."),
        (Text(3), "abcd", errors.StringTooLong,
         "Invalid 'x': string too long. Expected a string with maximum length 3, "
         "but got a string with length 4 instead."),
        (Text(3, may_be_empty=False), "", errors.EmptyString, None),
        (Text(3), ["a"], errors.InvalidType,
         "Invalid type for 'x': expected a string, but got an array instead."),
        (Text(3), {}, errors.InvalidType,
         "Invalid type for 'x': expected a string, but got an object instead."),
        (WORDS, "ultra", errors.InvalidValue,
         "Invalid value: 'ultra'. Supported values are: 'low', 'medium', 'high', and 'auto'."),
        (WORDS, 7, errors.InvalidType,
         "Invalid type for 'x': expected one of 'low', 'medium', 'high', or 'auto', "
         "but got an integer instead."),
        (OnlyOne(), 0, errors.IntegerTooSmall,
         "Invalid 'x': integer below minimum value. Expected a value >= 1, but got 0 instead."),
    ],
)  # fmt: skip
def test_refuses_in_the_words_of_the_contract(
    kind: Kind, value: object, error: type[errors.ApiError], message: str | None
) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        kind.read("x", value)
    assert type(caught.value) is error
    assert caught.value.param == "x"
    assert message is None or caught.value.message == message


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Integer(1, 10), 1),
        (Integer(1, 10), 10),
        (Number(0, 100), 7),
        (Number(0, 100), 0.0),
        (Boolean(), False),
        (Text(3), "äöü"),
        (Text(3), ""),
        (WORDS, "auto"),
        (OnlyOne(), 1),
        (Anything(), {"any": ["thing"]}),
    ],
)
def test_accepts(kind: Kind, value: Any) -> None:
    assert kind.read("x", value) == value


def test_only_one_has_its_own_sentence_and_names_no_parameter() -> None:
    with pytest.raises(
        errors.NotOneImage, match="^You must provide n=1 for this model.$"
    ) as caught:
        OnlyOne().read("n", 2)
    assert caught.value.param is None


def test_echoes_are_short() -> None:
    with pytest.raises(errors.InvalidValue) as caught:
        WORDS.read("x", "y" * 100_000)
    assert len(caught.value.message) < 300


def test_listed() -> None:
    assert listed(["a"], "and") == "'a'"
    assert listed(["a", "b"], "or") == "'a' or 'b'"
    assert listed(["a", "b", "c"], "and") == "'a', 'b', and 'c'"
