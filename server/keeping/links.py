"""Signed links to results: who has one may fetch its file for an hour, without a key.

    …/images/img-<id>.png?st=<signed at>&se=<expires at>&sig=<HMAC-SHA256 of the three>

Knows names and times; not files.
"""

import hmac
import os
import secrets
from base64 import urlsafe_b64encode
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

from server.errors import LinkExpired, LinkInvalid
from server.keeping.store import LIFETIME_S

PATH = "/images/"
_KEY_BYTES = 32
_TIME = "%Y-%m-%dT%H:%M:%SZ"


class Links:
    """Makes and checks links with one secret key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def make(self, base_url: str, name: str, now: float) -> str:
        """The absolute link to a result, good from now on for an hour."""
        start, end = _stamp(now), _stamp(now + LIFETIME_S)
        query = urlencode({"st": start, "se": end, "sig": self._sign(name, start, end)})
        return f"{base_url}{PATH}{name}?{query}"

    def check(self, name: str, start: str, end: str, signature: str, now: float) -> None:
        """Raises LinkInvalid or LinkExpired unless the link is good."""
        if not hmac.compare_digest(signature.encode(), self._sign(name, start, end).encode()):
            raise LinkInvalid("The signature of this link is not valid.")
        if _stamp(now) > end:
            raise LinkExpired("This link has expired: a result can be fetched for one hour.")

    def _sign(self, name: str, start: str, end: str) -> str:
        digest = hmac.digest(self._key, f"{name}\n{start}\n{end}".encode(), "sha256")
        return urlsafe_b64encode(digest).rstrip(b"=").decode()


def load_key(file: Path) -> bytes:
    """The secret in a file that only the server's user can read; made where there is none."""
    with suppress(FileNotFoundError):
        key = file.read_bytes()
        if len(key) == _KEY_BYTES:
            return key
    key = secrets.token_bytes(_KEY_BYTES)
    partial = file.with_name(f"{file.name}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(key)
        stream.flush()
        os.fsync(stream.fileno())
    partial.rename(file)
    return key


def _stamp(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime(_TIME)
