"""Bytes on their way, as progress bars in a terminal; silent where nobody looks."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from pipelines.weights.manifest import Advance, Begin


@contextmanager
def bars() -> Iterator[Begin]:
    """A bar for each thing that is begun within the block."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:

        def begin(label: str, size: int) -> Advance:
            task = progress.add_task(label, total=size)
            return lambda count: progress.advance(task, count)

        yield begin
