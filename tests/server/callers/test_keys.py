import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from server.callers.callers import Caller
from server.callers.keys import KeyStore, hash_of
from server.config import ConfigError

ALICE = Caller("alice", 2.0, "high", 30, 4, True, "strict")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.db"


def test_what_was_added_is_there_for_others(file: Path) -> None:
    key = KeyStore(file).add(ALICE, expires=200.0, now=100.0)
    (kept,) = KeyStore(file).all()
    assert (kept.caller, kept.created, kept.expires, kept.revoked) == (ALICE, 100.0, 200.0, None)
    assert kept.hash == hash_of(key)


def test_keys_are_long_random_and_not_kept(file: Path) -> None:
    store = KeyStore(file)
    keys = {store.add(Caller(f"n{number}"), None, 0.0) for number in range(20)}
    assert len(keys) == 20 and all(key.startswith("sk-") and len(key) >= 40 for key in keys)
    kept = b"".join(path.read_bytes() for path in file.parent.iterdir())
    assert not [key for key in keys if key.encode() in kept]


def test_a_name_has_one_key_at_a_time(file: Path) -> None:
    store = KeyStore(file)
    first = store.add(Caller("alice"), None, 1.0)
    with pytest.raises(ConfigError, match="already"):
        store.add(Caller("alice"), None, 2.0)
    store.revoke("alice", 3.0)
    second = store.add(Caller("alice"), None, 4.0)
    old, new = store.all()
    assert (old.hash, old.revoked) == (hash_of(first), 3.0)
    assert (new.hash, new.revoked) == (hash_of(second), None)


def test_what_is_not_there_cannot_be_revoked(file: Path) -> None:
    store = KeyStore(file)
    store.add(Caller("alice"), None, 1.0)
    with pytest.raises(ConfigError, match="no key for bob"):
        store.revoke("bob", 2.0)
    store.revoke("alice", 2.0)
    with pytest.raises(ConfigError, match="no key for alice"):
        store.revoke("alice", 3.0)
    assert store.all()[0].revoked == 2.0


def test_keys_of_the_version_before_are_kept(file: Path) -> None:
    key = KeyStore(file).add(ALICE, None, 1.0)
    with sqlite3.connect(file) as database:
        database.execute("ALTER TABLE keys DROP COLUMN policy")
        database.execute("PRAGMA user_version = 1")
    store = KeyStore(file)
    (kept,) = store.all()
    assert (kept.caller, kept.hash) == (replace(ALICE, policy=None), hash_of(key))
    store.add(Caller("bob", policy="off"), None, 2.0)
    assert KeyStore(file).all()[1].caller.policy == "off"


def test_a_key_needs_a_name(file: Path) -> None:
    with pytest.raises(ConfigError, match="name"):
        KeyStore(file).add(Caller(""), None, 0.0)


def test_a_change_by_another_process_is_noticed_once(file: Path) -> None:
    watching, changing = KeyStore(file), KeyStore(file)
    assert watching.changed()
    assert not watching.changed()
    changing.add(Caller("alice"), None, 0.0)
    assert watching.changed()
    assert not watching.changed()
    changing.revoke("alice", 1.0)
    assert watching.changed()


def test_many_may_add_at_once(file: Path) -> None:
    def add(number: int) -> None:
        KeyStore(file).add(Caller(f"n{number}"), None, 0.0)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(KeyStore(file).all()) == 8


def test_an_end_is_from_its_moment_on(file: Path) -> None:
    store = KeyStore(file)
    store.add(Caller("alice"), 200.0, 0.0)
    store.add(Caller("bob"), None, 0.0)
    alice, bob = store.all()
    assert (alice.expired(199.9), alice.expired(200.0)) == (False, True)
    assert not bob.expired(1e12)
