"""A fleet without devices: the seam's methods, and pictures that follow from the job alone."""

import asyncio
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from pipelines.core import Image, Job, Preview
from server.errors import QueueFull
from server.fleet.queue import Show, Spent
from server.fleet.status import DeviceStatus, FleetStatus, Loading, QueueStatus
from server.fleet.watching import Observer


def picture(job: Job) -> Image:
    """A smooth picture with a little grain: photographs compress like it."""
    rng = np.random.default_rng(job.seed)
    y, x = np.mgrid[0 : job.height, 0 : job.width].astype(np.float32)
    waves = [np.sin(x / rng.uniform(9, 40) + y / rng.uniform(9, 40)) for _ in range(3)]
    pixels = 127 + 100 * np.stack(waves, axis=-1) + rng.normal(0, 1, (job.height, job.width, 3))
    eight_bits = pixels.clip(0, 255).astype(np.uint8).tobytes()
    return Image(job.width, job.height, eight_bits, steps=job.steps_run)


def preview(job: Job, index: int) -> Preview:
    """Another picture for each preview of a job."""
    return Preview(index, picture(replace(job, seed=job.seed + 1000 + index)))


class FakeFleet:
    """Answers every job at the next turn of the loop, unless it is told otherwise."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.futures: list[asyncio.Future[Image]] = []
        self.outcome: Callable[[Job], Image | Exception] = picture
        self.delay_s: float | None = 0
        """None: never answer."""
        self.room: int | None = None
        """How many more jobs are accepted."""
        self.wait_s = 7.2
        self.show: Show | None = None
        self.spent: Spent | None = None
        self.within_s: float | None = None
        """What the last request gave with its jobs."""
        self.device = DeviceStatus("cpu", 4711, "ready", ["demo"])
        """What it says of itself; its state follows from `loading`, its images from the jobs."""
        self.loading: list[Loading] = []
        self.life: list[str] = []
        self.observer = Observer()

    async def start(self) -> None:
        self.life.append("started")

    async def stop(self) -> None:
        self.life.append("stopped")

    def kill(self) -> None:
        self.life.append("killed")
        print("the fleet was killed", file=sys.stderr, flush=True)

    def check(self, images: int) -> None:
        if self.room is not None and images > self.room:
            raise QueueFull(self.wait_s)

    def submit(
        self,
        jobs: Sequence[Job],
        show: Show | None = None,
        within_s: float = math.inf,
        spent: Spent | None = None,
    ) -> list[asyncio.Future[Image]]:
        self.show, self.spent, self.within_s = show, spent, within_s
        self.check(len(jobs))
        self.jobs += jobs
        futures = [self._run(job, show) for job in jobs]
        self.futures += futures
        return futures

    def status(self) -> FleetStatus:
        ready = not self.loading
        device = replace(
            self.device,
            state="ready" if ready else "loading",
            loading=self.loading,
            images_done=len(self.jobs),
        )
        depth = sum(not future.done() for future in self.futures)
        return FleetStatus(ready, [device], QueueStatus(depth, wait_s=0.0))

    def _run(self, job: Job, show: Show | None) -> asyncio.Future[Image]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Image] = loop.create_future()
        self.observer.dispatched(job, 0.0)
        future.add_done_callback(partial(self.observer.ended, job))
        if self.delay_s is not None:
            for index in range(job.previews):
                assert show is not None
                part = (index + 1) / (job.previews + 1)
                loop.call_later(self.delay_s * part, show, job, preview(job, index))
            loop.call_later(self.delay_s, self._answer, job, future)
        return future

    def _answer(self, job: Job, future: asyncio.Future[Image]) -> None:
        if future.done():
            return
        outcome = self.outcome(job)
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
