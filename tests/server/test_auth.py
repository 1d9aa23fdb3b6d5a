from pathlib import Path

import pytest

from server.auth import Keys, load_keys, masked
from server.config import ConfigError
from server.errors import MissingKey, WrongKey

LONG = "sk-" + "a" * 40


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    file = tmp_path / "keys"
    file.write_text(f"# our keys\n\nalice:{LONG}\n  sk-plain-one  \n")
    return load_keys(file)


def test_a_key_has_a_name(keys: Keys) -> None:
    assert keys.caller(f"Bearer {LONG}") == "alice"
    assert keys.caller("bearer sk-plain-one") == "key-4"


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


def test_keys_are_kept_as_hashes(keys: Keys) -> None:
    assert LONG not in repr(keys)


def test_with_no_keys_anyone_may_ask() -> None:
    assert load_keys(None).caller(None) == ""
    assert load_keys(None).caller("Bearer anything") == ""


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("# nothing\n", "no key"),
        ("a key with spaces\n", "line 1"),
        ("one\n# x\nalice:\n", "line 3"),
        ("alice:one\nbob:one\n", "line 2.*already above"),
    ],
)
def test_an_unusable_file(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "keys").write_text(content)
    with pytest.raises(ConfigError, match=says):
        load_keys(tmp_path / "keys")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_keys(tmp_path / "nowhere")
