from typing import Any

import pytest

from server import errors
from server.reading.kinds import (
    Anything,
    Boolean,
    Choice,
    FormText,
    Integer,
    Kind,
    Number,
    OnlyOne,
    Text,
    listed,
    read_table,
    read_value,
)

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


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Integer(1, 10), "3", 3),
        (Integer(-5, 10), " -3 ", -3),
        (OnlyOne(), "1", 1),
        (Number(0, 1), "0.5", 0.5),
        (Number(0, 1), ".5", 0.5),
        (Number(0, 1), "1.", 1.0),
        (Boolean(), "true", True),
        (Boolean(), "False", False),
        (Boolean(), "1", True),
        (Text(5), "3", "3"),
        (WORDS, "auto", "auto"),
        (Anything(), "", ""),
    ],
)
def test_a_forms_text_is_read_as_what_it_means(kind: Kind, text: str, value: Any) -> None:
    read = read_value(kind, "x", FormText(text))
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(Integer(1, 10), "an integer"), (OnlyOne(), "an integer"), (Number(0, 1), "a decimal number"),
     (Boolean(), "a boolean")],
)  # fmt: skip
@pytest.mark.parametrize("text", ["", "abc", "nan", "inf", "1e3", "0x1", "٣", "1_0", "null"])
def test_a_text_that_means_nothing_is_refused(kind: Kind, expected: str, text: str) -> None:
    with pytest.raises(errors.InvalidType) as caught:
        read_value(kind, "x", FormText(text))
    assert caught.value.message == (
        f"Invalid type for 'x': expected {expected}, but got a string value that could not be "
        f"converted into {expected}."
    )


def test_a_table_is_read_in_its_own_order() -> None:
    table = {"a": Integer(1, 2), "b": Text(3), "c": Boolean()}
    assert read_table(table, {"b": "x", "a": 1}, ["a"]) == {"a": 1, "b": "x"}
    for sent, param in (({"d": 1, "a": 0}, "d"), ({"b": 1}, "a"), ({"b": 1, "a": 0}, "a")):
        with pytest.raises(errors.InvalidRequest) as caught:
            read_table(table, sent, ["a"])
        assert caught.value.param == param
