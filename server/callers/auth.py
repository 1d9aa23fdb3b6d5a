"""Bearer keys: who may ask, and as whom.

Only hashes of keys are kept, and a key is looked up by its hash: the time that it takes tells
nothing of the others. Knows the file of keys and the header; not which routes want one.
"""

import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from server.callers.callers import Caller, split_attributes
from server.callers.keys import Key, KeyStore, hash_of
from server.config import Config, ConfigError
from server.errors import ApiError, MissingKey, WrongKey
from server.text_files import read_lines

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="OpenAI API"'}
_NO_KEY = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header "
    "using Bearer auth (i.e. Authorization: Bearer YOUR_KEY). "
    "The operator of this server gives out the keys."
)


class Keys:
    """The keys of a server: those of a file, read once, and those of a store, as it is now.

    With none at all, anyone may ask. Once there has been a key, one is needed, whatever becomes
    of it.
    """

    def __init__(self, listed: Mapping[bytes, Caller], store: KeyStore | None = None) -> None:
        self._listed, self._store = listed, store
        self._stored: Mapping[bytes, Key] = {}

    @property
    def wanted(self) -> bool:
        """Whether nobody may ask without a key."""
        self._look()
        return bool(self._listed or self._stored)

    def caller(self, authorization: str | None, now: float | None = None) -> Caller:
        """Who is behind an Authorization header; raises MissingKey or WrongKey."""
        if not self.wanted:
            return Caller()
        scheme, _, key = (authorization or "").partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not key:
            raise _challenge(MissingKey(_NO_KEY))
        return self._look_up(key, time.time() if now is None else now)

    def close(self) -> None:
        """Give the file of the store back."""
        if self._store is not None:
            self._store.close()

    def _look(self) -> None:
        if self._store is not None and self._store.changed():
            self._stored = {key.hash: key for key in self._store.all()}

    def _look_up(self, key: str, now: float) -> Caller:
        hash = hash_of(key)
        if hash in self._listed:
            return self._listed[hash]
        stored = self._stored.get(hash)
        if stored is None or stored.revoked is not None:
            raise _wrong("Incorrect API key provided", key)
        if stored.expired(now):
            raise _wrong("This API key has expired", key)
        return stored.caller


def keys_of(config: Config, store: KeyStore) -> Keys:
    """The keys of a server; raises ConfigError where they do not suit its address."""
    keys = Keys(load_keys(config.api_keys), store)
    if keys.wanted and config.no_auth:
        raise ConfigError(
            "--no-auth, and there are keys (`darkroom keys list`): leave it out, or give another "
            "--data-dir"
        )
    if not (keys.wanted or config.no_auth or config.is_local):
        raise ConfigError(
            f"--host {config.host} can be reached from other machines and there are no keys: make "
            "one with `darkroom keys add NAME`, or give --api-keys FILE, or --no-auth if that is "
            "meant"
        )
    if "*" in config.cors_origins and not keys.wanted:
        raise ConfigError(
            "--cors-origins *: without keys, every web page could use this server: make a key "
            "with `darkroom keys add NAME`, or name the origins"
        )
    return keys


def load_keys(file: Path | None) -> Mapping[bytes, Caller]:
    """The callers in a file of keys, by hash; none without a file. Raises ConfigError.

    A line has `KEY` or `NAME:KEY`, and what the caller may: `weight=2 priority=low
    images-per-minute=30 in-queue=4 admin=true`. `#` starts a comment line.
    """
    if file is None:
        return {}
    try:
        lines = read_lines(file)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--api-keys {file}: cannot be read: {error}") from error
    callers: dict[bytes, Caller] = {}
    for number, line in _entries(lines):
        try:
            hash, caller = _read_line(line, f"key-{number}")
        except ConfigError as error:
            raise ConfigError(f"--api-keys {file}: line {number}: {error}") from None
        if callers.setdefault(hash, caller) != caller:
            raise ConfigError(f"--api-keys {file}: line {number}: this key is already above")
    if not callers:
        raise ConfigError(f"--api-keys {file}: there is no key in it")
    return callers


def masked(key: str) -> str:
    """A key as it may be shown: the middle of a long one is hidden."""
    if len(key) <= 12:
        return key
    return f"{key[:4]}{'*' * min(len(key) - 8, 40)}{key[-4:]}"


def _entries(lines: list[str]) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(lines, start=1):
        line = line.strip()
        if line and not line.startswith("#"):
            yield number, line


def _read_line(line: str, unnamed: str) -> tuple[bytes, Caller]:
    named, attributes = split_attributes(line)
    name, _, key = named.rpartition(":")
    key = key.strip()
    if not re.fullmatch(r"[!-~]+", key):
        raise ConfigError("a key is visible ASCII characters")
    return hash_of(key), Caller(name.strip() or unnamed, **attributes)


def _wrong(what: str, key: str) -> ApiError:
    return _challenge(
        WrongKey(f"{what}: {masked(key)}. The operator of this server gives out the keys.")
    )


def _challenge(error: ApiError) -> ApiError:
    error.headers = _CHALLENGE
    return error
