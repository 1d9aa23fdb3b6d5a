"""Bearer keys: who may ask, and under which name.

Keys are kept as hashes and compared in constant time. Knows the file of keys and the header; not
which routes want one.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path

from server.config import ConfigError
from server.errors import ApiError, MissingKey, WrongKey

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="OpenAI API"'}
_NO_KEY = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header "
    "using Bearer auth (i.e. Authorization: Bearer YOUR_KEY). "
    "The operator of this server gives out the keys."
)


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of a server, as hash -> name of the caller; with none at all, anyone may ask."""

    names: Mapping[bytes, str]

    def caller(self, authorization: str | None) -> str:
        """The name behind an Authorization header; raises MissingKey or WrongKey."""
        if not self.names:
            return ""
        scheme, _, key = (authorization or "").partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not key:
            raise _challenge(MissingKey(_NO_KEY))
        name = self._look_up(key)
        if name is None:
            raise _challenge(
                WrongKey(
                    f"Incorrect API key provided: {masked(key)}. "
                    "The operator of this server gives out the keys."
                )
            )
        return name

    def _look_up(self, key: str) -> str | None:
        digest = _hash(key)
        found = None
        for known, name in self.names.items():  # all of them: the time must not tell which one fits
            if compare_digest(known, digest):
                found = name
        return found


def load_keys(file: Path | None) -> Keys:
    """The keys in a file, one a line: `key` or `name:key`; `#` starts a comment line."""
    if file is None:
        return Keys({})
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--api-keys {file}: cannot be read: {error}") from error
    names: dict[bytes, str] = {}
    for number, name, key in _entries(lines):
        if not re.fullmatch(r"[!-~]+", key):
            raise ConfigError(
                f"--api-keys {file}: line {number}: a key is visible ASCII characters"
            )
        if names.setdefault(_hash(key), name) != name:
            raise ConfigError(f"--api-keys {file}: line {number}: this key is already above")
    if not names:
        raise ConfigError(f"--api-keys {file}: there is no key in it")
    return Keys(names)


def masked(key: str) -> str:
    """A key as it may be shown: the middle of a long one is hidden."""
    if len(key) <= 12:
        return key
    return f"{key[:4]}{'*' * min(len(key) - 8, 40)}{key[-4:]}"


def _entries(lines: list[str]) -> Iterator[tuple[int, str, str]]:
    for number, line in enumerate(lines, start=1):
        line = line.strip()
        if line and not line.startswith("#"):
            name, _, key = line.rpartition(":")
            yield number, name.strip() or f"key-{number}", key.strip()


def _hash(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()


def _challenge(error: ApiError) -> ApiError:
    error.headers = _CHALLENGE
    return error
