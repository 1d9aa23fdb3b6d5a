from pathlib import Path

import pytest

from server.callers.auth import Keys, keys_of, load_keys, masked
from server.callers.callers import Caller
from server.callers.keys import KeyStore
from server.config import Config, ConfigError
from server.errors import MissingKey, WrongKey

LONG = "sk-" + "a" * 40


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    file = tmp_path / "keys"
    file.write_text(f"# our keys\n\nalice:{LONG}\n  sk-plain-one  \n")
    return Keys(load_keys(file))


def test_a_key_has_a_name(keys: Keys) -> None:
    assert keys.caller(f"Bearer {LONG}") == Caller("alice")
    assert keys.caller("bearer sk-plain-one") == Caller("key-4")


def test_a_line_may_say_what_its_caller_may(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    lines = ("alice : sk-a weight=2 priority=low", "sk-b in-queue=4 images-per-minute=9")
    file.write_text("\n".join((*lines, "carol: sk-YQ==", "dave:\tsk-Yg= weight=3")))
    keys = Keys(load_keys(file))
    assert keys.caller("Bearer sk-a") == Caller("alice", 2.0, "low")
    assert keys.caller("Bearer sk-b") == Caller("key-2", in_queue=4, images_per_minute=9)
    assert keys.caller("Bearer sk-YQ==") == Caller("carol")
    assert keys.caller("Bearer sk-Yg=") == Caller("dave", 3.0)


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic YTpi", LONG])
def test_no_key(keys: Keys, header: str | None) -> None:
    with pytest.raises(MissingKey, match="You didn't provide an API key.") as caught:
        keys.caller(header)
    assert caught.value.headers["WWW-Authenticate"] == 'Bearer realm="OpenAI API"'


@pytest.mark.parametrize(
    "key", ["invalid-key", LONG[:-1], LONG + "a", "alice", f"alice:{LONG}", "ÿé"]
)
def test_wrong_key(keys: Keys, key: str) -> None:
    with pytest.raises(WrongKey, match="^Incorrect API key provided: ") as caught:
        keys.caller(f"Bearer {key}")
    assert caught.value.headers["WWW-Authenticate"] == 'Bearer realm="OpenAI API"'


def test_a_long_key_is_not_repeated(keys: Keys) -> None:
    with pytest.raises(WrongKey) as caught:
        keys.caller(f"Bearer {LONG}x")
    assert LONG[5:-5] not in caught.value.message
    assert masked("invalid-key") == "invalid-key"
    assert masked("sk-1234567890abcd") == "sk-1*********abcd"
    assert len(masked("k" * 100_000)) < 60


def test_keys_are_kept_as_hashes(keys: Keys, tmp_path: Path) -> None:
    assert LONG not in repr(vars(keys))


def test_with_no_keys_anyone_may_ask() -> None:
    assert Keys(load_keys(None)).caller(None) == Caller()
    assert Keys(load_keys(None)).caller("Bearer anything") == Caller()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("# nothing\n", "no key"),
        ("a key with spaces\n", "line 1"),
        ("one\n# x\nalice:\n", "line 3"),
        ("ops: weight=2\n", "line 1: a key is"),
        ("ops: admin=true priority=low\n", "line 1: a key is"),
        ("alice:one\nbob:one\n", "line 2.*already above"),
        ("alice:one wieght=2\n", "line 1: there is no wieght=; there are weight, "),
        ("\nalice:one weight=-1\n", "line 2: weight"),
        ("alice:one priority=huge\n", "line 1: priority"),
    ],
)
def test_an_unusable_file(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "keys").write_text(content)
    with pytest.raises(ConfigError, match=says):
        load_keys(tmp_path / "keys")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_as_editors_save_it(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "keys").write_bytes("sesame-1\r\nälice:sesame-2\r\n".encode(encoding))
    keys = Keys(load_keys(tmp_path / "keys"))
    assert keys.caller("Bearer sesame-1").name == "key-1"
    assert keys.caller("Bearer sesame-2").name == "älice"


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_keys(tmp_path / "nowhere")


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path / "keys.db")


@pytest.fixture
def elsewhere(store: KeyStore, tmp_path: Path) -> KeyStore:
    """The same file, as another process has it."""
    return KeyStore(tmp_path / "keys.db")


def test_keys_of_the_store_are_known_beside_those_of_the_file(
    tmp_path: Path, store: KeyStore, elsewhere: KeyStore
) -> None:
    (tmp_path / "keys").write_text("alice:sk-a\n")
    keys = Keys(load_keys(tmp_path / "keys"), store)
    bob = Caller("bob", 3.0, "high", 30, 4, True)
    assert keys.caller(f"Bearer {elsewhere.add(bob, None, 0.0)}") == bob
    assert keys.caller("Bearer sk-a").name == "alice"


def test_a_key_is_good_from_its_adding_to_its_revoking(
    store: KeyStore, elsewhere: KeyStore
) -> None:
    keys = Keys({}, store)
    assert keys.caller("Bearer anything") == Caller()
    key = elsewhere.add(Caller("alice"), None, 0.0)
    assert keys.caller(f"Bearer {key}").name == "alice"
    with pytest.raises(WrongKey):
        keys.caller("Bearer anything")
    elsewhere.revoke("alice", 1.0)
    with pytest.raises(WrongKey, match="Incorrect API key"):
        keys.caller(f"Bearer {key}")


def test_once_there_was_a_key_the_last_one_leaves_the_door_shut(
    store: KeyStore, elsewhere: KeyStore
) -> None:
    elsewhere.add(Caller("alice"), None, 0.0)
    elsewhere.revoke("alice", 1.0)
    with pytest.raises(MissingKey):
        Keys({}, store).caller(None)


def test_a_key_ends_when_its_time_is_over(store: KeyStore, elsewhere: KeyStore) -> None:
    keys = Keys({}, store)
    key = elsewhere.add(Caller("alice"), expires=100.0, now=0.0)
    assert keys.caller(f"Bearer {key}", now=99.0).name == "alice"
    with pytest.raises(WrongKey, match="has expired") as caught:
        keys.caller(f"Bearer {key}", now=100.0)
    assert key not in caught.value.message


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "::", "example.org"])
def test_an_address_that_others_can_reach_needs_keys(
    tmp_path: Path, store: KeyStore, elsewhere: KeyStore, host: str
) -> None:
    config = Config(host=host)
    with pytest.raises(ConfigError, match="keys add NAME.*--api-keys FILE, or --no-auth") as caught:
        keys_of(config, store)
    assert "\n" not in str(caught.value)
    keys_of(Config(host=host, no_auth=True), store)
    (tmp_path / "keys").write_text("sk-a\n")
    keys_of(Config(host=host, api_keys=tmp_path / "keys"), store)
    elsewhere.add(Caller("alice"), None, 0.0)
    keys_of(config, store)


def test_keys_and_no_auth_contradict_each_other(store: KeyStore, elsewhere: KeyStore) -> None:
    elsewhere.add(Caller("alice"), None, 0.0)
    with pytest.raises(ConfigError, match="--no-auth"):
        keys_of(Config(no_auth=True), store)
