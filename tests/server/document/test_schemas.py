"""A kind and its schema accept the same."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from server.document.schemas import (
    LORA,
    MEANINGS,
    REFERENCE,
    endpoint_schema,
    schema_of,
    table_schema,
    union,
)
from server.errors import InvalidRequest
from server.prompts.moderations import BODY as MODERATIONS
from server.reading.endpoints import EDITS, FILES, GENERATIONS, JSON_EDITS, VARIATIONS
from server.reading.kinds import Boolean, Choice, Integer, Kind, Number, OnlyFalse, OnlyOne, Text
from server.reading.profiles import DALL_E_2, FAMILIES
from server.reading.references import OneReference, References, Uploads
from server.reading.sizes import FixedSize, FreeSize, ListedSize

ENDPOINTS = (GENERATIONS, EDITS, JSON_EDITS, VARIATIONS)
KINDS = {
    kind
    for endpoint in ENDPOINTS
    for _, profile in endpoint.families
    if profile
    for kind in profile.parameters.values()
    if not isinstance(kind, Uploads | References | OneReference)
}
WORDS = [
    "",
    "auto",
    "1024x1024",
    "256x256",
    "0x0",
    "1024x1024\n",
    "url",
    "high",
    "png",
    "hd",
    "low",
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
    | st.integers(-1, 501) | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


def reads(kind: Kind, value: object) -> bool:
    try:
        kind.read("it", value)
    except InvalidRequest:
        return False
    return True


def fits(schema: Any, value: object) -> bool:
    components = {"components": {"schemas": {"ImageReference": REFERENCE, "Lora": LORA}}}
    return Draft202012Validator({**schema, **components}).is_valid(value)  # type: ignore[no-any-return]


@given(value=VALUES, kind=st.sampled_from(sorted(KINDS, key=repr)))
@example(value="a" * 32001, kind=Text(32000))
@example(value="", kind=Text(1000, may_be_empty=False))
@example(value=True, kind=Integer(0, 10))
@example(value=11, kind=Integer(0, 10))
@example(value=-1, kind=Integer(0, 10))
@example(value=1.5, kind=Number(0, 1))
@example(value=1, kind=Boolean())
@example(value=True, kind=OnlyFalse())
@example(value=2, kind=OnlyOne())
def test_what_a_kind_reads_is_what_its_schema_allows(value: object, kind: Kind) -> None:
    whole = isinstance(value, float) and value.is_integer()  # is an integer to a schema
    if reads(kind, value):
        assert fits(schema_of(kind), value)
    elif not (isinstance(kind, FreeSize) and isinstance(value, str)) and not whole:
        assert not fits(schema_of(kind), value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([{"image_url": "https://example.org/a.png"}], True),
        ([{"file_id": "file-1", "image_url": None}], True),
        ([{"file_id": "file-1"}] * 16, True),
        ([{"file_id": "file-1"}] * 17, False),
        ([{"file_id": 1}], False),
        ([{"url": "x"}], False),
        (["x"], False),
        ([], False),
        ("x", False),
    ],
)
def test_references(value: object, expected: bool) -> None:
    kind = JSON_EDITS.families[-1][1].parameters["images"]  # type: ignore[union-attr]
    assert reads(kind, value) == fits(schema_of(kind), value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a", True),
        ("", False),
        ("a" * 32_001, False),
        (["a", "b"], True),
        (["a"] * 101, False),
        (["a", ""], False),
        ([], False),
        ([{"type": "text", "text": "a"}], True),
        ([{"type": "text", "text": "a"}, "a"], False),
        ([{"type": "image_url", "image_url": {"url": "x"}}], False),
        ([{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}], True),
        ([{"type": "image_url", "image_url": "https://example.org/a.png"}], False),
        ([{"type": "image_url", "text": "a"}], False),
        ([{"type": "image_url", "image_url": {"url": "http://a/b", "detail": 1}}], False),
        ([{"type": "text", "text": "a", "more": 1}], False),
        (3, False),
    ],
)
def test_inputs_of_moderations(value: object, expected: bool) -> None:
    kind = MODERATIONS["input"]
    assert reads(kind, value) == fits(schema_of(kind), value) == expected


def test_a_kind_without_a_schema_is_an_error() -> None:
    with pytest.raises(TypeError):
        schema_of(object())  # type: ignore[arg-type]


@given(value=VALUES, name=st.sampled_from(sorted(DALL_E_2.parameters)))
def test_what_any_family_takes_the_endpoint_takes(value: object, name: str) -> None:
    taken = any(
        reads(profile.parameters[name], value)
        for _, profile in FAMILIES
        if name in profile.parameters
    )
    if taken:
        assert fits(endpoint_schema(GENERATIONS)["properties"][name], value)


def test_what_can_be_said_in_one_schema_is() -> None:
    kinds = [Choice(("a", "b")), Choice(("b", "c")), FixedSize(("1x1",)), ListedSize(("auto",))]
    assert union(map(schema_of, kinds)) == {
        "type": "string",
        "enum": ["a", "b", "c", "1x1", "auto"],
    }
    assert union([schema_of(OnlyOne()), schema_of(Integer(1, 10))]) == schema_of(Integer(1, 10))
    assert union([schema_of(OnlyFalse()), schema_of(Boolean())]) == schema_of(Boolean())
    free, listed = FreeSize(shortest=1, longest=9), schema_of(ListedSize(("1x1", "auto")))
    assert union([listed, schema_of(free)]) == union([schema_of(free), listed]) == schema_of(free)
    assert union([schema_of(Integer(1, 2)), schema_of(Boolean())]) == {
        "anyOf": [schema_of(Integer(1, 2)), schema_of(Boolean())]
    }


def test_families_that_differ_are_told_apart() -> None:
    told = endpoint_schema(GENERATIONS)["properties"]["n"]["description"]
    assert told == (
        "How many images. By model: `dall-e-2`, `gpt-image-1…`, `chatgpt-image-…`, `gpt-image-2…`, "
        "`gpt-image-…`, every other name: 1 to 10; `dall-e-3…`: 1."
    )


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_body_has_what_is_required_and_nothing_unknown(endpoint: Any) -> None:
    schema = endpoint_schema(endpoint)
    assert set(schema["required"]) == set(endpoint.required)
    assert fits(schema["additionalProperties"], None)
    assert not fits(schema["additionalProperties"], "")
    for name, parameter in schema["properties"].items():
        if name not in (*endpoint.required, "image", "mask"):
            assert fits(parameter, None), "null is as good as nothing"


def test_every_meaning_is_of_a_parameter() -> None:
    bodies = [
        *map(endpoint_schema, ENDPOINTS),
        table_schema(FILES, ()),
        table_schema(MODERATIONS, ()),
    ]
    assert {name for body in bodies for name in body["properties"]} == MEANINGS.keys()
