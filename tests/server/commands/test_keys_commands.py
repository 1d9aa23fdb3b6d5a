from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from server.callers.callers import Caller
from server.callers.keys import FILE, KeyStore, hash_of
from server.commands.cli import app

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(*arguments: str) -> Result:
        environment = {"COLUMNS": "160", "DARKROOM_DATA_DIR": str(tmp_path)}
        return CliRunner().invoke(app, ["keys", *arguments], env=environment)

    return run


def test_a_key_is_shown_once_alone_and_is_good(run: Run, tmp_path: Path) -> None:
    result = run(
        "add", "alice", "--images-per-minute", "30", "--in-queue", "4", "--weight", "2.5",
        "--priority", "high", "--expires", "30d", "--admin", "--policy", "strict",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "not shown again" in result.stderr
    (key,) = KeyStore(tmp_path / FILE).all()
    assert hash_of(result.stdout.strip()) == key.hash
    assert key.caller == Caller("alice", 2.5, "high", 30, 4, True, "strict")
    assert key.expires is not None and key.expires - key.created == pytest.approx(30 * 86_400)


def test_without_options_a_key_has_no_limits(run: Run, tmp_path: Path) -> None:
    run("add", "alice")
    (key,) = KeyStore(tmp_path / FILE).all()
    assert (key.caller, key.expires) == (Caller("alice"), None)


def test_the_list_says_whose_they_are_and_what_they_may(run: Run) -> None:
    secret = run("add", "alice", "--in-queue", "4", "--weight", "2").stdout.strip()
    run("add", "[bold]bob", "--expires", "2h")
    run("revoke", "alice")
    result = run("list")
    rows = [line.split("│") for line in result.output.splitlines() if "│" in line]
    alice, bob = ([cell.strip() for cell in row[1:-1]] for row in rows)
    assert (alice[0], alice[1], alice[4]) == ("alice", "revoked", "weight 2, in-queue 4")
    assert (bob[0], bob[1], bob[4]) == ("[bold]bob", "valid", "")
    assert secret not in result.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("add", "alice"), "already"),
        (("add", ""), "name"),
        (("add", "bob", "--priority", "huge"), "priority must be high, normal, low"),
        (("add", "bob", "--weight", "0"), "weight"),
        (("add", "bob", "--policy", "often"), "policy must be off, on, strict"),
        (("add", "bob", "--in-queue", "0"), "in-queue"),
        (("add", "bob", "--expires", "soon"), "--expires"),
        (("add", "bob", "--expires", "2020-01-01"), "future"),
        (("revoke", "bob"), "no key for bob"),
    ],
)
def test_mistakes_are_one_line_and_change_nothing(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    run("add", "alice")
    result = run(*arguments)
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.startswith("darkroom: ") and says in result.stderr
    assert result.stderr.count("\n") == 1
    assert [key.caller.name for key in KeyStore(tmp_path / FILE).all()] == ["alice"]
