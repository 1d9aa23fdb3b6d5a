"""A worker process as the server sees it, with other programs in the worker's place."""

import asyncio
import os
import sys
import time
from itertools import count
from pathlib import Path

import pytest

from pipelines.messages import Begin, Cancel, FromWorker
from pipelines.scheduling.pulse import UNHEARD_S
from server.fleet.process import AT_ONCE, WorkerProcess

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


def test_one_that_does_not_hear_hangs(worker) -> None:
    """Unless it is in a pass, which has a bound of its own."""
    worker(
        "from pipelines.scheduling.pulse import Pulse\n"
        "pulse = Pulse(int(sys.argv[4]))\n"
        "for does in ([], [pulse.hear], [pulse.hear, pulse.begin], [], [pulse.rest]):\n"
        "    connection.recv()\n"
        "    connection.send([do() for do in does])\n"
        "time.sleep(60)"
    )

    async def run() -> None:
        said: asyncio.Queue[FromWorker] = asyncio.Queue()
        over = asyncio.Event()
        process = WorkerProcess(BEGIN, lambda message, _: said.put_nowait(message), over.set)
        moments = count(time.monotonic(), UNHEARD_S + 1)
        for does in ("begins", "hears", "hears, and is in a pass", "is in a pass"):
            await said.get()
            assert hangs(process, next(moments)) == [False, False, False], does
            process.send(Cancel("nobody"))
        await said.get()
        assert hangs(process, next(moments)) == [False, False, True]
        process.kill()
        await asyncio.wait_for(over.wait(), 20)

    asyncio.run(run())


@pytest.mark.parametrize("size", [1, AT_ONCE])
def test_nobody_sends_by_a_connection_that_is_being_closed(worker, size: int) -> None:
    """Whoever is in the midst of it would write into whatever is opened next; so would the thread
    that sends what is too large to be sent at once."""
    worker("connection.recv(); time.sleep(60)")
    closed = []

    async def run() -> None:
        over = asyncio.Event()
        process = WorkerProcess(BEGIN, lambda *_: None, over.set)
        connection = process._connection

        class Slow:
            close = staticmethod(connection.close)

            def send_bytes(self, data: bytes) -> None:
                process.kill()
                time.sleep(0.3)
                closed.append(connection.closed)

        process._connection = Slow()  # type: ignore[assignment]
        process.send(Cancel("n" * size))
        await asyncio.wait_for(over.wait(), 20)
        assert connection.closed

    asyncio.run(run())
    assert closed == [False]


def hangs(process: WorkerProcess, now: float) -> list[bool]:
    """At a moment, and before and after the end of patience with one that does not hear."""
    return [process.hangs(now + later) for later in (0, UNHEARD_S - 1, UNHEARD_S + 1)]


def test_what_cannot_be_started_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere")
    before = os.listdir("/proc/self/fd")

    async def run() -> None:
        with pytest.raises(FileNotFoundError):
            WorkerProcess(BEGIN, lambda *_: None, lambda: None)

    asyncio.run(run())
    assert len(os.listdir("/proc/self/fd")) == len(before)
