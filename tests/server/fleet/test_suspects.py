"""What the fleet does with the jobs of a dead worker, with scripted workers in the place of real
ones: they make and start what a test tells them, and die when it tells them."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import ClassVar

import pytest
import yaml

from pipelines.core import Image, Job, JobCancelled, ModelUnavailable, NoDeviceLeft, WorkerLost
from pipelines.messages import Begin, Cancel, Failed, Finished, Hello, State
from pipelines.registry import Registry
from server.config import Config
from server.errors import NoDevice
from server.fleet.device import SET_ASIDE_AFTER
from server.fleet.fleet import Fleet
from server.fleet.process import Death
from server.fleet.quarantine import MAX_DEATHS
from tests.conftest import entry
from tests.server.fleet.test_queue import JOB

CRASH, KILLED = 1, -9
UP = State(resident=["m"], loading={}, lanes=0, ready=True)
Story = Callable[[Fleet], Awaitable[None]]


class Worker:
    """Has the jobs that it was given, and does nothing by itself."""

    alive: ClassVar[dict[str, "Worker"]] = {}
    numbers = count(100)
    at_once: ClassVar[bool] = True
    """Whether a worker is up as soon as it is started."""
    says: ClassVar[State] = UP

    def __init__(self, begin: Begin, hear: Callable[..., None], ended: Callable[[], None]) -> None:
        self.begin, self.hear, self.ended = begin, hear, ended
        self.jobs: dict[str, Job] = {}
        self.death: Death | None = None
        self.started: frozenset[str] = frozenset()
        self.pid = next(self.numbers)
        self.alive[begin.device] = self
        if self.at_once:
            asyncio.get_running_loop().call_soon(self.come_up)

    def come_up(self) -> None:
        self.hear(Hello(self.begin.device, []), b"")
        self.hear(self.says, b"")

    def run(self, job: Job, waited_s: float) -> None:
        self.jobs[job.id] = job

    def send(self, message: Cancel) -> None:
        if self.jobs.pop(message.job_id, None):
            self.hear(Failed(message.job_id, JobCancelled()), b"")

    def make(self, *ids: str) -> None:
        """Images of some jobs, or of all."""
        for id in ids or list(self.jobs):
            del self.jobs[id]
            self.hear(Finished(id, 1, 1, 0.1), b"123")

    def die(
        self, code: int, started: Collection[str] | None = None, loading: str | None = None
    ) -> None:
        """All of its jobs were started, unless it is told which were."""
        if self.alive.get(self.begin.device) is self:
            del self.alive[self.begin.device]
        self.death = Death(code, loading=loading)
        self.started = frozenset(self.jobs if started is None else started)
        self.ended()

    def hangs(self, now: float) -> bool:
        return False

    def kill(self) -> None:
        if self.death is None:
            self.die(KILLED)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a story with a fleet of scripted workers; `alive` has them by device."""
    monkeypatch.setattr("server.fleet.fleet.WorkerProcess", Worker)
    monkeypatch.setattr("server.fleet.fleet.LOOK_EVERY_S", 0.01)
    monkeypatch.setattr("server.fleet.device.Device.backoff_s", backoff_s)
    monkeypatch.setattr(Worker, "alive", {})
    monkeypatch.setattr(Worker, "at_once", True)
    monkeypatch.setattr(Worker, "says", UP)
    file = tmp_path / "weights.yaml"
    file.write_text(yaml.safe_dump({"models": {"m": entry("nowhere")}}))
    registry = Registry(file, tmp_path)

    def run(story: Story, *devices: str, **settings: object) -> None:
        config = Config(
            **{"devices": devices or ("cpu",), "data_dir": tmp_path, "max_queue": 99} | settings
        )

        async def go() -> None:
            fleet = Fleet(config, registry)
            await fleet.start()
            try:
                async with asyncio.timeout(30):
                    await story(fleet)
            finally:
                fleet.kill()
                await asyncio.wait_for(fleet.stop(), 5)

        asyncio.run(go())

    return run


def backoff_s(device, alone: bool = False) -> float:
    return 0.05 if device.set_aside else 0.01


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.002)


async def up(device: str = "cpu") -> Worker:
    """The next worker of a device, that has jobs or could have them."""
    await until(lambda: device in Worker.alive)
    worker = Worker.alive[device]
    await asyncio.sleep(0.03)  # it comes up, and is given what there is for it
    return worker


def jobs(number: int, **fields: object) -> list[Job]:
    return [replace(JOB, id=str(n), **fields) for n in range(number)]


def test_what_only_waited_is_no_suspect(run) -> None:
    async def story(fleet: Fleet) -> None:
        worker = await up()
        made = fleet.submit(jobs(4))
        worker.die(CRASH, started="01")
        assert fleet.status().queue.suspects == 2
        seen = set()
        while not all(future.done() for future in made):
            worker = await up()
            together = frozenset(worker.jobs)
            assert together in ({"2", "3"}, {"0"}, {"1"}, set()), "suspects run alone"
            seen.add(together)
            worker.make()
        assert {"2", "3"} in seen
        await until(lambda: not fleet.status().queue.suspects)

    run(story)


def test_the_one_that_kills_is_found_and_the_others_get_their_images(run) -> None:
    """Among sixty on two devices, and it costs few workers."""

    async def story(fleet: Fleet) -> None:
        await up("cuda:0")
        await up("cuda:1")
        made = fleet.submit(jobs(60))
        while not all(future.done() for future in made):
            await asyncio.sleep(0.01)
            for worker in list(Worker.alive.values()):
                if "7" in worker.jobs:
                    worker.die(KILLED)
                else:
                    worker.make()
        assert [n for n, future in enumerate(made) if future.exception()] == [7]
        assert isinstance(made[7].exception(), WorkerLost)
        assert sum(device.deaths for device in fleet.status().devices) <= 1 + 5 + 3

    run(story, "cuda:0", "cuda:1")


def test_new_jobs_have_the_only_device_in_turns_with_suspects(run) -> None:
    """However often suspects take their worker with them."""

    async def story(fleet: Fleet) -> None:
        worker = await up()
        poison = fleet.submit(jobs(1))[0]
        for number in range(10):
            fleet.submit([replace(JOB, id=f"new{number}")])
        worker.die(KILLED, started="0")
        runs = list[str]()
        while not poison.done():
            worker = await up()
            fleet.submit([replace(JOB, id=f"later{len(runs)}")])
            runs.append("suspect" if "0" in worker.jobs else "others")
            if "0" in worker.jobs:
                assert worker.jobs.keys() == {"0"}
                worker.die(KILLED)
            else:
                worker.make()
        assert runs.count("suspect") == 2
        assert "suspect suspect" not in " ".join(runs)

    run(story)


def test_a_suspect_goes_to_another_device_than_it_died_on(run) -> None:
    async def story(fleet: Fleet) -> None:
        broken = await up("cuda:0")
        await up("cuda:1")
        made = fleet.submit(jobs(2))
        assert len(broken.jobs) == 1
        broken.die(CRASH)
        good = Worker.alive["cuda:1"]
        good.make()
        await until(lambda: good.jobs)
        await up("cuda:0")
        good.make()
        await asyncio.gather(*made)

    run(story, "cuda:0", "cuda:1")


def test_what_a_disabled_device_had_goes_elsewhere(run) -> None:
    async def story(fleet: Fleet) -> None:
        await up("cuda:0")
        await up("cuda:1")
        made = fleet.submit(jobs(2))
        for _ in range(SET_ASIDE_AFTER):
            (await up("cuda:0")).die(CRASH)
        good = Worker.alive["cuda:1"]
        assert fleet.status().devices[0].state == "set aside"
        while not all(future.done() for future in made):
            good.make()
            await asyncio.sleep(0.01)
        assert all(future.exception() is None for future in made)

    run(story, "cuda:0", "cuda:1")


def test_with_no_device_left_jobs_wait_for_one_to_come_back(run) -> None:
    async def story(fleet: Fleet) -> None:
        for _ in range(SET_ASIDE_AFTER):
            (await up()).die(CRASH)
        assert fleet.status().devices[0].state == "set aside"
        made = fleet.submit(jobs(1))[0]
        worker = await up()
        worker.make()
        await made

    run(story)


def test_but_no_longer_than_their_clients_wait(run) -> None:
    async def story(fleet: Fleet) -> None:
        await up()
        Worker.at_once = False  # from now on they die before they come up
        long, short = fleet.submit(jobs(1)), fleet.submit([replace(JOB, id="x")], within_s=0.1)
        for _ in range(SET_ASIDE_AFTER + 1):
            (await up()).die(CRASH, started=())
        with pytest.raises(NoDevice):
            fleet.submit([replace(JOB, id="new")])
        begun = time.monotonic()
        while not short[0].done():
            if "cpu" in Worker.alive:
                (await up()).die(CRASH)
            await asyncio.sleep(0.005)
        assert isinstance(short[0].exception(), NoDeviceLeft)
        assert not long[0].done()
        while not long[0].done():
            if "cpu" in Worker.alive:
                (await up()).die(CRASH)
            await asyncio.sleep(0.005)
        assert isinstance(long[0].exception(), NoDeviceLeft)
        assert time.monotonic() - begun > 0.5

    run(story, max_wait_s=1.5)


def test_a_model_that_cannot_be_loaded_fails_its_jobs_alone(run) -> None:
    """Workers that die while they load it: no job is a suspect, and the device goes on."""

    Worker.says = replace(UP, resident=[])

    async def story(fleet: Fleet) -> None:
        await up()
        made = fleet.submit(jobs(3))
        for _ in range(SET_ASIDE_AFTER):
            worker = await up()
            assert fleet.status().queue.suspects == 0
            worker.die(KILLED, started=(), loading="m")
        (device,) = fleet.status().devices
        assert device.barred == ["m"] and device.state != "set aside"
        for future in made:
            with pytest.raises(ModelUnavailable, match="died while it loaded"):
                await future

    run(story, max_wait_s=1)


def test_a_cancelled_suspect_leaves_the_quarantine(run) -> None:
    async def story(fleet: Fleet) -> None:
        worker = await up()
        waiting, running = fleet.submit(jobs(2))
        worker.die(CRASH)
        worker = await up()
        assert worker.jobs.keys() == {"0"}
        waiting.cancel()
        running.cancel()
        await until(lambda: not fleet.status().queue.suspects)
        assert fleet.status().queue.depth == 0 and worker.jobs == {}
        after = fleet.submit([replace(JOB, id="after")])[0]
        await until(lambda: worker.jobs)
        worker.make()
        await after

    run(story)


def test_previews_of_a_suspect_are_shown_once(run) -> None:
    from pipelines.messages import Shown

    async def story(fleet: Fleet) -> None:
        shown = list[int]()
        worker = await up()
        made = fleet.submit(jobs(1, previews=2), lambda job, preview: shown.append(preview.index))
        worker.hear(Shown("0", 0, 1, 1), b"123")
        worker.die(CRASH)
        worker = await up()
        for index in range(2):
            worker.hear(Shown("0", index, 1, 1), b"123")
        worker.make()
        await made[0]
        assert shown == [0, 1]

    run(story)


def test_watched_suspects_go_first(run) -> None:
    async def story(fleet: Fleet) -> None:
        worker = await up()
        fleet.submit(jobs(2))
        fleet.submit([replace(JOB, id="watched")], lambda job, preview: None)
        worker.die(CRASH)
        assert "watched" in (await up()).jobs

    run(story)


def test_a_server_that_is_asked_to_end_finishes_suspects(run) -> None:
    async def story(fleet: Fleet) -> None:
        worker = await up()
        made = fleet.submit(jobs(4))
        worker.die(CRASH)
        stopping = asyncio.ensure_future(fleet.stop())
        while not all(future.done() for future in made):
            (await up()).make()
        await stopping
        assert [type(future.result()) for future in made] == [Image] * 4

    run(story)


def test_a_server_that_must_end_at_once_leaves_no_suspect_waiting(run) -> None:
    async def story(fleet: Fleet) -> None:
        worker = await up()
        made = fleet.submit(jobs(4))
        worker.die(CRASH)
        await up()
        fleet.kill()
        for future in made:
            with pytest.raises(JobCancelled):
                await future
        await until(lambda: not fleet.status().queue.suspects)

    run(story)


def test_random_kills_lose_nothing(run) -> None:
    """Whatever was running is killed again and again, but no job is killed alone three times."""

    async def story(fleet: Fleet) -> None:
        made = fleet.submit(jobs(40))
        turn, killed_alone = 0, Counter[str]()
        while not all(future.done() for future in made):
            await asyncio.sleep(0.003)
            for worker in list(Worker.alive.values()):
                turn += 1
                if not worker.jobs:
                    continue
                first = next(iter(worker.jobs))
                if turn % 3 == 0 and killed_alone[first] < MAX_DEATHS - 1:
                    killed_alone[first] += len(worker.jobs) == 1
                    worker.die(KILLED)
                else:
                    worker.make(first)
        assert all(future.exception() is None for future in made)
        assert sum(device.deaths for device in fleet.status().devices) > 10

    run(story, "cuda:0", "cuda:1")
