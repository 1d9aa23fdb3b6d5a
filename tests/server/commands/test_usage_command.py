import csv
import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from server.callers.ledger import FILE, Ledger
from server.commands.cli import app
from tests.server.callers.test_ledger import ENTRY, REFUSAL

Run = Callable[..., Result]
NUMBERS = ["requests", "images", "megapixels", "steps", "device_seconds", "refusals"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(*arguments: str) -> Result:
        environment = {"COLUMNS": "80", "DARKROOM_DATA_DIR": str(tmp_path)}
        return CliRunner().invoke(app, ["usage", *arguments], env=environment)

    return run


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path / FILE)
    ledger.add([replace(ENTRY, key="[red]alice")] * 1200)
    ledger.refuse(REFUSAL)
    return ledger


def test_a_table_beside_a_server_that_writes(run: Run, ledger: Ledger) -> None:
    result = run("--by", "key,model")
    assert result.exit_code == 0, result.output
    rows = [re.split("  +", line.strip()) for line in result.output.splitlines()]
    assert rows[3:-1] == [
        ["[red]alice · demo", "1", "1,200", "600.0", "9,600", "1,800.0", "0"],
        ["bob · -", "0", "0", "0.0", "0", "0.0", "1"],
    ]


def test_nothing_is_cut_where_it_is_narrow(run: Run, ledger: Ledger) -> None:
    ledger.refuse(replace(REFUSAL, error="content_policy_violation"))
    text = run("--by", "day,key,model,name,error").output
    assert "content_policy_violation" in text and "…" not in text
    assert "1,800.0" in text and max(map(len, text.splitlines())) <= 80


def test_csv(run: Run, ledger: Ledger, tmp_path: Path) -> None:
    text = run("--by", "key,error", "--csv", "-").stdout
    assert list(csv.reader(io.StringIO(text))) == [
        ["key", "error", *NUMBERS],
        ["[red]alice", "", "1", "1200", "600.0", "9600", "1800.0", "0"],
        ["bob", "401", "0", "0", "0.0", "0", "0.0", "1"],
    ]
    assert run("--by", "key,error", "--csv", str(tmp_path / "usage.csv")).output == ""
    assert (tmp_path / "usage.csv").read_text() == text


def test_since(run: Run, ledger: Ledger) -> None:
    assert run("--csv", "-", "--since", "1970-01-01").stdout.count("\n") == 2
    assert run("--csv", "-", "--since", "1d").stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--by", "colour"), "--by must be of day, key, model, name, error"),
        (("--since", "soon"), "--since"),
        (("--csv", "/nowhere/usage.csv"), "--csv /nowhere/usage.csv: cannot be written"),
    ],
)
def test_mistakes_are_one_line(
    run: Run, ledger: Ledger, arguments: tuple[str, ...], says: str
) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr and result.stderr.count("\n") == 1


def test_where_there_was_no_server_there_is_no_ledger(run: Run, tmp_path: Path) -> None:
    result = run()
    assert result.exit_code == 2 and "no server has kept a ledger there" in result.stderr
    assert list(tmp_path.iterdir()) == []
