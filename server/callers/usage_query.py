"""What can be asked of the usage API, as data. Knows names and limits; not what is answered."""

from collections.abc import Mapping

from server.callers.queries import Items
from server.callers.usage import FIELDS, Field
from server.reading.kinds import Choice, Integer, Table, Text

_LATEST = 253_402_300_799  # the end of the year 9999
WIDTHS_S = {"1m": 60, "1h": 3600, "1d": 86_400}
"""Seconds of a bucket."""
MOST: Mapping[str, tuple[int, int]] = {"1m": (60, 1440), "1h": (24, 168), "1d": (7, 31)}
"""Buckets on a page: without `limit`, and at most."""
NOBODYS = ("project_id", "user_id")
"""What there is not here: to be told apart by it changes nothing."""

PARAMETERS: Table = {
    "start_time": Integer(0, _LATEST),
    "end_time": Integer(0, _LATEST),
    "bucket_width": Choice(tuple(WIDTHS_S)),
    "group_by": Items(Choice((*FIELDS, *NOBODYS))),
    "limit": Integer(1, 1440),
    "page": Integer(0, _LATEST),
    "api_key_ids": Items(Text(256)),
    "models": Items(Text(256)),
    "sizes": Items(Text(256)),
    "sources": Items(Choice(("image.generation", "image.edit", "image.variation"))),
    "project_ids": Items(Text(256)),
    "user_ids": Items(Text(256)),
}
"""What can be said."""
FILTERS: Mapping[str, Field] = {
    "api_key_ids": "api_key_id",
    "models": "model",
    "sizes": "size",
    "sources": "source",
}
"""Those that are columns of images."""
