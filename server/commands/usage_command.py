"""`darkroom usage`: the ledger as a table, or as CSV. Draws, and adds nothing up itself."""

import csv
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from server.callers.ledger import FILE
from server.callers.usage import COLUMNS, Column, Total, totals
from server.commands.options import DEFAULTS, DataDir, one_line_errors
from server.config import ConfigError
from server.keeping.moments import moment

app = typer.Typer()

_BETWEEN, _NOTHING = " · ", "-"

_NUMBERS = {
    "requests": "requests",
    "images": "images",
    "megapixels": "MP",
    "steps": "steps",
    "device_seconds": "device s",
    "refusals": "refused",
}
"""What is counted, and its heading where 80 columns must do."""


@app.command()
def usage(
    since: Annotated[
        str | None,
        typer.Option(metavar="30d|DATE", help="From so long ago, or from a day (UTC), on."),
    ] = None,
    by: Annotated[
        str,
        typer.Option(
            metavar="|".join(COLUMNS), help="What is told apart; several with commas between."
        ),
    ] = "day",
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it as CSV; - is standard output.")
    ] = None,
    data_dir: DataDir = DEFAULTS.data_dir,
) -> None:
    """Show what was used: images that were answered, and requests that were refused."""
    with one_line_errors():
        columns = _columns(by)
        begin = moment("--since", since, time.time(), ahead=False) if since else 0.0
        file = data_dir / FILE
        if not file.exists():
            raise ConfigError(f"--data-dir {data_dir}: no server has kept a ledger there")
        rows = totals(file, columns, begin)
        if csv is not None:
            return _write(csv, columns, rows)
    Console().print(_table(columns, rows))


def _columns(by: str) -> list[Column]:
    names = list(dict.fromkeys(name.strip() for name in by.split(",")))
    for name in names:
        if name not in COLUMNS:
            raise ConfigError(f"--by must be of {', '.join(COLUMNS)}, not {name}")
    return [column for name in names for column in COLUMNS if column == name]


def _table(columns: Sequence[str], rows: Sequence[Total]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(_BETWEEN.join(columns), overflow="fold")
    for heading in _NUMBERS.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        numbers = (getattr(row, name) for name in _NUMBERS)
        told = [f"{it:,.1f}" if isinstance(it, float) else f"{it:,}" for it in numbers]
        table.add_row(Text(_BETWEEN.join(value or _NOTHING for value in row.of)), *told)
    return table


def _write(file: Path, columns: Sequence[str], rows: Sequence[Total]) -> None:
    with _opened(file) as stream:
        writer = csv.writer(stream)
        writer.writerow([*columns, *_NUMBERS])
        for row in rows:
            writer.writerow([*row.of, *(getattr(row, name) for name in _NUMBERS)])


@contextmanager
def _opened(file: Path) -> Iterator[IO[str]]:
    if str(file) == "-":
        yield sys.stdout
        return
    try:
        with file.open("w", encoding="utf-8", newline="") as stream:
            yield stream
    except OSError as error:
        raise ConfigError(f"--csv {file}: cannot be written: {error}") from error
