"""Decoding `data:` URLs as browsers do (WHATWG Fetch, "data: URL processor")."""

import re
from urllib.parse import unquote_to_bytes

import pybase64

_BASE64 = re.compile(r"; *base64$", re.IGNORECASE)
_C0_AND_SPACE = "".join(map(chr, range(33)))
_IGNORED = str.maketrans("-_", "+/", "\t\n\f\r ")
"""Forgiving-base64 ignores ASCII whitespace. The alphabet for URLs is accepted as well."""


def is_data_url(url: str) -> bool:
    """Whether a URL has the scheme `data`. Browsers ignore blanks before it."""
    return url[:100].lstrip(_C0_AND_SPACE)[:5].lower() == "data:"


def decode_data_url(url: str) -> bytes:
    """The content of a data URL; empty if it is malformed."""
    header, _, data = url.strip(_C0_AND_SPACE).partition(",")
    if not _BASE64.search(header.translate({9: None, 10: None, 13: None}).rstrip(" ")):
        return unquote_to_bytes(data.translate({9: None, 10: None, 13: None}).partition("#")[0])
    if "%" in data:
        data = unquote_to_bytes(data).decode("latin-1")
    return _forgiving_base64(data.translate(_IGNORED))


def _forgiving_base64(data: str) -> bytes:
    """Base64 with or without its padding; a surplus of bits at the end is dropped."""
    bare = data.removesuffix("=").removesuffix("=") if len(data) % 4 == 0 else data
    if len(bare) % 4 == 1 or "=" in bare:
        return b""
    try:
        return pybase64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except ValueError:  # also for characters that are not ASCII
        return b""
