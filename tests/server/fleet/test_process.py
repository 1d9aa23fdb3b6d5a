"""A worker process as the server sees it, with other programs in the worker's place."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from pipelines.messages import Begin, FromWorker
from server.fleet.process import WorkerProcess

BEGIN = Begin("cpu", {}, [], None)
PROGRAM = """#!{python}
import sys, time
from multiprocessing.connection import Connection
connection = Connection(int(sys.argv[3]))
{does}
"""


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Has another program run where a worker would, which does what it is told here."""

    def does(what: str) -> None:
        program = tmp_path / "program"
        program.write_text(PROGRAM.format(python=sys.executable, does=what))
        program.chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(program))

    return does


def heard() -> list[FromWorker | str]:
    """Everything until the end of a process that is started now."""

    async def run() -> list[FromWorker | str]:
        told: list[FromWorker | str] = []
        over = asyncio.Event()
        process = WorkerProcess(BEGIN, lambda message, pixels: told.append(message), over.set)
        await asyncio.wait_for(over.wait(), 20)
        with pytest.raises(ProcessLookupError):
            os.kill(process.pid, 0)
        return [*told, "ended"]

    return asyncio.run(run())


def test_what_it_is_sent_and_says(worker) -> None:
    worker("connection.send(connection.recv().device)")
    assert heard() == ["cpu", "ended"]


@pytest.mark.parametrize(
    "says", ["b'no pickle'", "b'cnothing\\nhere\\n.'", "b'cbuiltins\\nint\\n(S\"x\"\\ntR.'"]
)
def test_one_that_nobody_understands_is_ended(worker, says: str) -> None:
    """Or its jobs would wait for ever: nobody listens to it any more."""
    worker(f"connection.send_bytes({says}); time.sleep(60)")
    assert heard() == ["ended"]


def test_what_cannot_be_started_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere")
    before = os.listdir("/proc/self/fd")

    async def run() -> None:
        with pytest.raises(FileNotFoundError):
            WorkerProcess(BEGIN, lambda *_: None, lambda: None)

    asyncio.run(run())
    assert len(os.listdir("/proc/self/fd")) == len(before)
