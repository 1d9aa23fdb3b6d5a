"""A worker process as the server sees it, with other programs in the worker's place."""

import asyncio
import os
import sys
import time
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from pipelines.messages import Begin, Cancel, FromWorker
from pipelines.scheduling.pulse import NUM_SLOTS, UNHEARD_S
from server.fleet.process import AT_ONCE, WorkerProcess, child_environment
from tests.server.fleet.test_queue import JOB

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
        await asyncio.wait_for(over.wait(), 60)
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
        await asyncio.wait_for(over.wait(), 60)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("does", "started"),
    [
        ("pulse.receive()", {"a"}),
        ("receive()", set()),
        ("receive(); receive(); receive()", {"c"}),
        ("receive(); receive(); receive(); pulse.receive()", {"c", "d"}),
        ("receive(); receive(); receive(); receive()", {"c"}),
    ],
)
@pytest.mark.parametrize("end", ["os._exit(3)", "os.kill(os.getpid(), 9)"])
def test_what_it_had_started_outlives_it(worker, does: str, started: set[str], end: str) -> None:
    """Of four jobs, `b` is started and answered, and `c` started. The rest only waits, but for the
    one whose message is being received: that alone may end a worker."""
    worker(
        "import os\n"
        "from pipelines.messages import Failed, JobError\n"
        "from pipelines.scheduling.pulse import Pulse\n"
        "pulse = Pulse(int(sys.argv[4]))\n"
        "def receive():\n"
        "    pulse.receive()\n"
        "    run = connection.recv()\n"
        "    pulse.hear()\n"
        "    pulse.assign_slot(run.job.id, run.slot)\n"
        "    if run.job.id in 'bc':\n"
        "        pulse.start_job(run.job.id)\n"
        "    if run.job.id == 'b':\n"
        "        connection.send(Failed('b', JobError()))\n"
        "connection.recv()\n"
        f"{does}\n"
        f"{end}"
    )

    async def run() -> WorkerProcess:
        over = asyncio.Event()
        process = WorkerProcess(BEGIN, lambda *_: None, over.set)
        for name in "abcd":
            process.run(replace(JOB, id=name), 0.0)
        await asyncio.wait_for(over.wait(), 60)
        return process

    process = asyncio.run(run())
    assert process.started == started
    assert process.death is not None
    assert process.death.from_outside == ("kill" in end)
    assert str(process.death) == ("SIGKILL" if "kill" in end else "exit status 3")


def test_a_slot_that_is_used_again_has_no_mark(worker) -> None:
    worker(
        "import os\n"
        "from pipelines.messages import Failed, JobError\n"
        "from pipelines.scheduling.pulse import Pulse\n"
        "pulse = Pulse(int(sys.argv[4]))\n"
        "connection.recv()\n"
        "while True:\n"
        "    run = connection.recv()\n"
        "    pulse.hear()\n"
        "    if run.job.id == 'last': os._exit(1)\n"
        "    pulse.assign_slot(run.job.id, run.slot)\n"
        "    pulse.start_job(run.job.id)\n"
        "    connection.send(Failed(run.job.id, JobError()))\n"
    )

    async def run() -> None:
        over = asyncio.Event()
        heard: asyncio.Queue[FromWorker] = asyncio.Queue()
        process = WorkerProcess(BEGIN, lambda message, _: heard.put_nowait(message), over.set)
        for number in range(NUM_SLOTS):
            process.run(replace(JOB, id=str(number)), 0.0)
            await heard.get()
        process.run(replace(JOB, id="last"), 0.0)
        await asyncio.wait_for(over.wait(), 60)
        assert process.started == set()

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
        await asyncio.wait_for(over.wait(), 60)
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


def test_allocator_keeps_the_settings_of_the_operator() -> None:
    name = "PYTORCH_ALLOC_CONF"
    assert child_environment({})[name] == "expandable_segments:True"
    assert child_environment({name: "max_split_size_mb:64"})[name] == "max_split_size_mb:64"
    assert name not in child_environment({"PYTORCH_CUDA_ALLOC_CONF": "backend:native"})
    assert child_environment({"HF_HUB_OFFLINE": "0"})["HF_HUB_OFFLINE"] == "1"
