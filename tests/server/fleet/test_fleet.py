"""The fleet with real workers and a tiny Flux: what is accepted is answered, whatever dies."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import numpy as np
import pytest
import yaml

from pipelines.core import Job, JobCancelled, ModelUnavailable, NoDeviceLeft, WorkerLost
from pipelines.messages import Begin, Hello
from pipelines.registry import Registry
from server.config import Config
from server.errors import Draining, NoDevice, QueueFull
from server.fleet.fleet import Fleet
from tests.conftest import entry

JOB = Job(
    id="1", model="flux", prompt="a fox", width=64, height=64, seed=1, steps=4, guidance_scale=2.0
)
LONG = replace(JOB, id="long", steps=500)


@pytest.fixture(scope="module")
def registry(tiny_registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """The tiny Flux, preloaded, and a model whose weights are broken."""
    folder = tmp_path_factory.mktemp("fleet")
    broken = folder / "broken"
    broken.mkdir()
    (broken / "model_index.json").write_text("{}")
    file = folder / "weights.yaml"
    flux = entry(str(tiny_registry.path("flux"))) | {"preload": True}
    file.write_text(yaml.safe_dump({"models": {"flux": flux, "broken": entry(str(broken))}}))
    return Registry(file, Path("models"))


@asynccontextmanager
async def serving(registry: Registry, **settings: object) -> AsyncIterator[Fleet]:
    with TemporaryDirectory() as data_dir:
        config = Config(**{"devices": ("cpu",), "data_dir": Path(data_dir)} | settings)
        fleet = Fleet(config, registry)
        await fleet.start()
        try:
            yield fleet
        finally:
            fleet.kill()
            await asyncio.wait_for(fleet.stop(), 60)


def with_fleet(test: Callable[[Fleet], Awaitable[None]], registry: Registry, **settings: object):
    async def run() -> None:
        async with serving(registry, **settings) as fleet:
            await test(fleet)

    asyncio.run(run())


async def until(condition: Callable[[], bool], within_s: float = 120) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.01)


async def image(fleet: Fleet, job: Job) -> bytes:
    return bytes((await fleet.submit([job])[0]).pixels)


def same(one: bytes, other: bytes) -> bool:
    """Within 1/255: in other company, the same sums are taken in another order."""
    pixels = (np.frombuffer(each, np.uint8).astype(int) for each in (one, other))
    return bool(np.abs(np.subtract(*pixels)).max() <= 1)


def kill(fleet: Fleet, by: signal.Signals = signal.SIGKILL) -> None:
    pid = fleet.status().devices[0].pid
    assert pid is not None
    os.kill(pid, by)


def test_a_jobs_life_and_the_workers_death(registry: Registry) -> None:
    """One worker start serves them all: starting one takes longer than everything else here."""

    async def story(fleet: Fleet) -> None:
        assert not fleet.status().ready
        first = fleet.submit([JOB])[0]  # accepted before there is anybody to run it
        fleet.submit([replace(JOB, id="0")], within_s=0)[0].cancel()  # nothing is known: a guess
        await until(lambda: fleet.status().ready)
        in_peace = bytes((await first).pixels)
        assert len(in_peace) == 3 * 64 * 64
        assert not same(await image(fleet, replace(JOB, id="2", seed=2)), in_peace)
        await check_large_messages(fleet, in_peace)
        await check_cancelling(fleet)
        await check_waiting(fleet)
        await check_previews(fleet)
        await check_a_broken_model(fleet, in_peace)
        await check_a_killed_worker(fleet, in_peace)
        await check_a_job_that_kills(fleet, in_peace)

    with_fleet(story, registry)


async def check_large_messages(fleet: Fleet, in_peace: bytes) -> None:
    """Those that could block go by a thread; small ones that follow do not overtake them."""
    large = [replace(JOB, id=f"l{n}", prompt="a fox " * 50_000) for n in range(4)]
    futures = fleet.submit([*large, replace(JOB, id="small")])
    futures[0].cancel()  # the job is told of before its end is
    images = await asyncio.wait_for(asyncio.gather(*futures[1:]), 60)
    assert same(images[-1].pixels, in_peace)
    await until(lambda: fleet.status().devices[0].lanes == 0)
    assert fleet.status().queue.depth == 0


async def check_cancelling(fleet: Fleet) -> None:
    spent: list[tuple[str, float]] = []
    tell = lambda job, seconds: spent.append((job.id, seconds))  # noqa: E731
    # Longer than a worker may take to tell what it has done: once a second.
    running = fleet.submit([replace(LONG, steps=3_000)], spent=tell)[0]
    before = fleet.status().devices[0].busy_s
    await until(lambda: fleet.status().devices[0].lanes == 1)
    await until(lambda: fleet.status().devices[0].busy_s > before)
    running.cancel()
    await until(lambda: fleet.status().devices[0].lanes == 0)
    assert fleet.status().queue.depth == 0
    ((job_id, seconds),) = spent
    assert job_id == LONG.id
    # Both figures of the status are rounded to milliseconds, the seconds are not.
    assert 0 < seconds <= fleet.status().devices[0].busy_s - before + 0.002


async def check_waiting(fleet: Fleet) -> None:
    """Who cannot be answered in time is refused, unless waiting would not help."""
    ahead = fleet.submit([LONG], within_s=0)[0]
    with pytest.raises(QueueFull) as refused:
        fleet.submit([replace(JOB, id="late")], within_s=0)
    assert refused.value.wait_s > 0
    assert fleet.status().queue.depth == 1
    ahead.cancel()
    await until(lambda: fleet.status().devices[0].lanes == 0)


async def check_previews(fleet: Fleet) -> None:
    shown = []
    job = replace(JOB, id="shown", previews=3)
    await fleet.submit([job], lambda job, preview: shown.append((job.id, preview.index)))[0]
    assert shown == [("shown", 0), ("shown", 1), ("shown", 2)]


async def check_a_broken_model(fleet: Fleet, in_peace: bytes) -> None:
    broken, good = fleet.submit([replace(JOB, id="3", model="broken"), replace(JOB, id="4")])
    with pytest.raises(ModelUnavailable, match="broken"):
        await broken
    assert same((await good).pixels, in_peace)


async def check_a_killed_worker(fleet: Fleet, in_peace: bytes) -> None:
    # An image comes before the number of lanes that are left.
    await until(lambda: fleet.status().devices[0].lanes == 0)
    before = fleet.status().devices[0].pid
    futures = fleet.submit([replace(JOB, id=f"k{i}") for i in range(3)] + [LONG])
    await until(lambda: fleet.status().devices[0].lanes > 0)  # the short ones may be over
    kill(fleet)
    await until(lambda: fleet.status().devices[0].deaths == 1)
    assert fleet.status().queue.suspects > 0, "what was running waits in quarantine"
    images = await asyncio.gather(*futures[:3])
    assert all(same(image.pixels, in_peace) for image in images)
    assert fleet.status().devices[0].pid != before
    futures[3].cancel()


async def check_a_job_that_kills(fleet: Fleet, in_peace: bytes) -> None:
    """Two crashes while it runs alone are its answer."""
    await until(lambda: fleet.status().devices[0].lanes == 0)
    lost = fleet.submit([replace(LONG, id="killer")])[0]
    for _ in range(2):
        await until(lambda: fleet.status().devices[0].lanes == 1)
        kill(fleet, signal.SIGSEGV)
        await until(lambda: fleet.status().devices[0].lanes == 0)
        assert fleet.status().devices[0].last_death == "SIGSEGV"
    with pytest.raises(WorkerLost):
        await lost
    assert fleet.status().queue.suspects == 0
    assert same(await image(fleet, replace(JOB, id="after")), in_peace)


def test_a_full_queue_takes_nothing_and_draining_finishes_everything(registry: Registry) -> None:
    async def story(fleet: Fleet) -> None:
        accepted = fleet.submit([replace(JOB, id=f"q{i}") for i in range(3)])
        with pytest.raises(QueueFull) as refused:
            fleet.submit([replace(JOB, id=f"r{i}") for i in range(2)])
        assert refused.value.wait_s > 0
        assert fleet.status().queue.depth == 3
        stopping = asyncio.ensure_future(fleet.stop())
        await asyncio.sleep(0)
        with pytest.raises(Draining):
            fleet.submit([replace(JOB, id="too late")])
        await asyncio.wait_for(stopping, 60)
        assert all(len(future.result().pixels) == 3 * 64 * 64 for future in accepted)
        assert fleet.status().devices[0].pid is None

    with_fleet(story, registry, max_queue=4)


def test_what_is_killed_leaves_nobody_waiting(registry: Registry) -> None:
    async def story(fleet: Fleet) -> None:
        accepted = fleet.submit([JOB])[0]
        fleet.kill()
        with pytest.raises(JobCancelled):
            await accepted
        await asyncio.wait_for(fleet.stop(), 60)

    with_fleet(story, registry)


def test_two_workers_share_the_work_and_the_cores(registry: Registry) -> None:
    async def story(fleet: Fleet) -> None:
        await until(lambda: fleet.status().ready)
        jobs = [replace(JOB, id=f"s{i}", steps=20) for i in range(8)]
        images = await asyncio.gather(*fleet.submit(jobs))
        assert all(same(image.pixels, images[0].pixels) for image in images)
        devices = fleet.status().devices
        assert [device.id for device in devices] == ["cpu:0", "cpu:1"]
        assert [device.images_done for device in devices] == [4, 4]

    with_fleet(story, registry, devices=("cpu", "cpu"))


def test_a_worker_that_hangs_is_replaced(registry: Registry) -> None:
    """SIGSTOP: it is there, its connection is open, and no pass ever ends."""

    async def story(fleet: Fleet) -> None:
        await until(lambda: fleet.status().ready)
        in_peace = await image(fleet, JOB)
        await until(lambda: fleet.status().devices[0].lanes == 0)  # what comes next is the next job
        running = fleet.submit([replace(JOB, id="r", steps=200)])[0]
        await until(lambda: fleet.status().devices[0].lanes == 1)
        pid = fleet.status().devices[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: fleet.status().devices[0].deaths == 1, within_s=180)
        assert len((await running).pixels) == 3 * 64 * 64
        assert same(await image(fleet, replace(JOB, id="after")), in_peace)

    with_fleet(story, registry)


def test_a_device_that_never_works_is_set_aside(registry: Registry) -> None:
    async def story(fleet: Fleet) -> None:
        accepted = fleet.submit([JOB])[0]
        with pytest.raises(NoDeviceLeft):
            await accepted
        assert fleet.status().devices[0].state == "set aside"
        assert not fleet.status().ready
        with pytest.raises(NoDevice):
            fleet.submit([replace(JOB, id="2")])

    with_fleet(story, registry, devices=("cuda:99",), max_wait_s=1)


def test_where_no_worker_can_be_started_it_is_tried_again(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No memory, or no descriptor left: the same as a death."""
    good = sys.executable
    monkeypatch.setattr(sys, "executable", "/nowhere")

    async def story(fleet: Fleet) -> None:
        accepted = fleet.submit([JOB])[0]
        assert fleet.status().devices[0].deaths == 1
        monkeypatch.setattr(sys, "executable", good)
        assert len((await accepted).pixels) == 3 * 64 * 64

    with_fleet(story, registry)


def test_a_device_that_never_works_holds_up_no_other(registry: Registry) -> None:
    async def story(fleet: Fleet) -> None:
        assert len(await image(fleet, JOB)) == 3 * 64 * 64
        await until(lambda: fleet.status().devices[1].state == "set aside")
        assert fleet.status().ready

    with_fleet(story, registry, devices=("cpu", "cuda:99"))


class _Silent:
    """In the place of a worker process, where only what it is told counts."""

    pid, death = 4711, None
    begun: ClassVar[list[tuple[Begin, Callable[..., None]]]] = []

    def __init__(self, begin: Begin, hear: Callable[..., None], ended: Callable[[], None]) -> None:
        self.begun.append((begin, hear))
        self.kill = ended

    def hangs(self, now: float) -> bool:
        return False


def test_the_devices_that_auto_finds_share_the_hosts_memory(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.fleet.fleet.WorkerProcess", _Silent)
    monkeypatch.setattr(_Silent, "begun", [])

    async def story(fleet: Fleet) -> None:
        ((_, hear),) = _Silent.begun
        hear(Hello("cuda:0", ["cuda:1", "cuda:2", "cuda:3"]), b"")
        others = [begin for begin, _ in _Silent.begun[1:]]
        assert [begin.device for begin in others] == ["cuda:1", "cuda:2", "cuda:3"]
        assert [begin.host_memory for begin in others] == [0.1] * 3, "the first divides its own"

    with_fleet(story, registry, devices=("auto",), host_memory=0.4)


def test_auto_finds_a_device(registry: Registry) -> None:
    async def story(fleet: Fleet) -> None:
        await until(lambda: fleet.status().ready)
        assert fleet.status().devices[0].id in ("cpu", "cuda:0")
        assert fleet.status().devices[0].resident == ["flux"]

    with_fleet(story, registry, devices=("auto",))
