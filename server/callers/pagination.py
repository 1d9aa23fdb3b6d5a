"""Cursor pagination as OpenAI's lists have it: `after`, `limit` and `order` in, `has_more` out."""

from collections.abc import Sequence
from typing import Any

from server.errors import InvalidValue
from server.reading.kinds import Choice, Integer, Table, Text, echo

MAX_LIMIT = 10_000
"""Items on a page, also without `limit`."""

_CURSOR: Table = {
    "after": Text(256),
    "limit": Integer(1, MAX_LIMIT),
    "order": Choice(("asc", "desc")),
}
MODELS_QUERY: Table = _CURSOR
FILES_QUERY: Table = {**_CURSOR, "purpose": Text(64)}


def cursor_page(items: Sequence[dict[str, Any]], limit: int = MAX_LIMIT) -> dict[str, Any]:
    """The list object of the first `limit` items, and whether any are left.

    `items`: all that follow the cursor, each with an `id`.
    """
    data = items[:limit]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": len(items) > limit,
    }


def ids_after(ids: Sequence[str], after: str | None = None, order: str = "asc") -> Sequence[str]:
    """The ids that follow the cursor `after`. Raises InvalidValue if it is not among them."""
    ordered = ids if order == "asc" else ids[::-1]
    if after is None:
        return ordered
    if after not in ordered:
        raise InvalidValue(f"Invalid 'after': there is no '{echo(after)}' in this list.", "after")
    return ordered[ordered.index(after) + 1 :]
