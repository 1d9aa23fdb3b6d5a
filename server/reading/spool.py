"""Bytes on their way in: few of them in memory, many in a file without a name.

So what a client sends never takes more memory than the server means to give it. Knows sizes and
files; not what is in them.
"""

import asyncio
import tempfile
from collections.abc import Mapping
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

IN_MEMORY = 1 << 16
"""Bytes of one upload that are kept in memory; what is longer goes to the disk."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The parameters of a body, before they are checked. Leaving its `with` forgets its files."""

    parameters: Mapping[str, object]
    opened: ExitStack
    """Closes the files; what is opened for the request later is added to it."""

    def __enter__(self) -> "Sent":
        return self

    def __exit__(self, *_: object) -> None:
        self.opened.close()


@dataclass(frozen=True, slots=True)
class Scratch:
    """Where uploads wait to be looked at. Nothing in the folder has a name, or outlives a crash."""

    folder: Path
    threads: Executor

    def new(self) -> IO[bytes]:
        """An empty file; closing it is forgetting it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return tempfile.SpooledTemporaryFile(max_size=IN_MEMORY, dir=str(self.folder))

    async def write(self, file: IO[bytes], data: bytes) -> None:
        """Append without holding the event loop where the disk is involved."""
        if file.tell() + len(data) <= IN_MEMORY:
            file.write(data)
        else:
            await asyncio.get_running_loop().run_in_executor(self.threads, file.write, data)
