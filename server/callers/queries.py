"""The query of a URL -> values, by the same kinds as a body has.

An array is a name that is given several times, with `[]` behind it or without. Knows kinds; not
what is asked.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, cast

from starlette.datastructures import QueryParams

from server.reading.kinds import FormText, Kind, Table, read_table

API_VERSION = "api-version"


@dataclass(frozen=True, slots=True)
class Items:
    """Some values of a kind."""

    kind: Kind

    def read(self, name: str, value: object) -> list[object]:
        """All of them, as their kind reads them."""
        return [self.kind.read(name, one) for one in cast(list[object], value)]


def read_query(query: QueryParams, table: Table, required: Collection[str] = ()) -> dict[str, Any]:
    """What a query asks for; raises an InvalidRequest for the first fault.

    `api-version`, which the clients for Azure send with every request, is left out.
    """
    sent: dict[str, Any] = {}
    for given, text in query.multi_items():
        if given == API_VERSION:
            continue
        name = given.removesuffix("[]")
        if isinstance(table.get(name), Items):
            sent.setdefault(name, []).append(text)
        else:
            sent[given] = FormText(text)
    return read_table(table, sent, required)
