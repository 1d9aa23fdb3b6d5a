"""`darkroom keys`: hand out keys, list them, take them back; a running server goes by it at once.

Knows the terminal; what a key is worth is known to `keys` and `callers`.
"""

import time
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer import Argument, Option

from server.callers.callers import Caller, described
from server.callers.keys import FILE, Key, KeyStore
from server.commands.options import DEFAULTS, DataDir, one_line_errors
from server.keeping.moments import moment, shown

app = typer.Typer(no_args_is_help=True, help="Hand out keys, list them, take them back.")

_USUAL = Caller()

Name = Annotated[str, Argument(metavar="NAME", help="Whose key it is.")]


@app.command()
def add(
    name: Name,
    images_per_minute: Annotated[
        int | None, Option(metavar="N", help="How many images it may ask for in a minute.")
    ] = None,
    in_queue: Annotated[
        int | None, Option(metavar="N", help="How many of its images may wait or run at once.")
    ] = None,
    weight: Annotated[
        float, Option(metavar="W", help="Its share of the devices, against those of others.")
    ] = _USUAL.weight,
    priority: Annotated[
        str, Option(metavar="high|normal|low", help="What waits of lower priority goes after it.")
    ] = _USUAL.priority,
    expires: Annotated[
        str | None, Option(metavar="30d|DATE", help="When it ends: after a time, or on a day.")
    ] = None,
    admin: Annotated[bool, Option("--admin", help="It may see the usage of all keys.")] = False,
    policy: Annotated[
        str | None,
        Option(metavar="off|on|strict", help="How its prompts and images are judged."),
    ] = None,
    data_dir: DataDir = DEFAULTS.data_dir,
) -> None:
    """Make a key, and show it: this once, only its hash is kept."""
    with one_line_errors():
        now = time.time()
        end = moment("--expires", expires, now, ahead=True) if expires else None
        may = (weight, priority, images_per_minute, in_queue, admin, policy)
        caller = Caller(name, *may)  # type: ignore[arg-type]
        key = KeyStore(data_dir / FILE).add(caller, end, now)
    Console(stderr=True).print(Text(f"The key of {name}, for {data_dir}. It is not shown again:"))
    print(key)


@app.command("list")
def list_keys(data_dir: DataDir = DEFAULTS.data_dir) -> None:
    """Show whose keys there are, and what they may; not the keys themselves."""
    with one_line_errors():
        keys = KeyStore(data_dir / FILE).all()
    now = time.time()
    table = Table("name", "state", "since", "until", "may")
    for key in keys:
        may = ", ".join(f"{name} {value}" for name, value in described(key.caller))
        cells = (key.caller.name, _state(key, now), shown(key.created), _end(key), may)
        table.add_row(*(Text(cell) for cell in cells))
    Console().print(table)


@app.command()
def revoke(name: Name, data_dir: DataDir = DEFAULTS.data_dir) -> None:
    """End a key. What it has under way is finished."""
    with one_line_errors():
        KeyStore(data_dir / FILE).revoke(name, time.time())
    Console().print(Text(f"The key of {name} is revoked."))


def _state(key: Key, now: float) -> str:
    if key.revoked is not None:
        return "revoked"
    return "expired" if key.expired(now) else "valid"


def _end(key: Key) -> str:
    end = key.expires if key.revoked is None else key.revoked
    return "" if end is None else shown(end)
