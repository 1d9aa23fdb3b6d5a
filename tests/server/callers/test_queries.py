from typing import Any

import pytest
from starlette.datastructures import QueryParams

from server.callers.queries import Items, read_query
from server.errors import InvalidType, InvalidValue, MissingParameter, UnknownParameter
from server.reading.kinds import Choice, Integer, Table

TABLE: Table = {"limit": Integer(1, 9), "by": Items(Choice(("key", "size")))}


@pytest.mark.parametrize(
    ("query", "values"),
    [
        ("", {}),
        ("limit=7", {"limit": 7}),
        ("by=key", {"by": ["key"]}),
        ("by=key&by=size", {"by": ["key", "size"]}),
        ("by[]=key&limit=1&by%5B%5D=size", {"by": ["key", "size"], "limit": 1}),
    ],
)
def test_values(query: str, values: dict[str, Any]) -> None:
    assert read_query(QueryParams(query), TABLE, ()) == values


@pytest.mark.parametrize(
    ("query", "kind", "param"),
    [
        ("limit=x", InvalidType, "limit"),
        ("by=nobody", InvalidValue, "by"),
        ("colour=red", UnknownParameter, "colour"),
        ("limit[]=1", UnknownParameter, "limit[]"),
    ],
)
def test_faults(query: str, kind: type[Exception], param: str) -> None:
    with pytest.raises(kind) as caught:
        read_query(QueryParams(query), TABLE, ())
    assert caught.value.param == param  # type: ignore[attr-defined]


def test_what_is_required() -> None:
    with pytest.raises(MissingParameter, match="Missing required parameter: 'limit'"):
        read_query(QueryParams("by=key"), TABLE, ("limit",))
