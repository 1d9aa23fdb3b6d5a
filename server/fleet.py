"""The devices and their worker processes: dispatch, watch, restart, run again what was lost.

Knows which jobs are where, on one event loop. It does not know how an image is made, or who asked.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Sequence

from pipelines.core import Image, Job, Preview, WorkerLost
from pipelines.messages import Begin, Cancel, Failed, Finished, FromWorker, Hello, Shown, State
from pipelines.registry import Registry
from server.config import Config
from server.device import Device, devices_of
from server.errors import Draining, QueueFull
from server.process import WorkerProcess
from server.queue import Pace, Queue, Show, Ticket
from server.status import FleetStatus, QueueStatus

MAX_DEATHS = 2
"""A job that was there when so many workers died is not tried again."""

log = logging.getLogger(__name__)


class Fleet:
    """One worker process for each device, and the bounded queue before them."""

    def __init__(self, config: Config, registry: Registry) -> None:
        self._capacity = config.max_queue
        self._registry = registry
        self._devices = devices_of(config.devices)
        self._queue = Queue()
        self._pace = Pace()
        self._tickets: set[Ticket] = set()
        self._draining = self._over = False

    async def start(self) -> None:
        """Start the workers; they load what is preloaded while the server already answers."""
        for device in self._devices:
            self._launch(device)

    async def stop(self) -> None:
        """Take no more jobs, let the accepted ones finish, then end the workers."""
        self._draining = True
        waiting = [ticket.future for ticket in self._tickets]
        await asyncio.gather(*waiting, return_exceptions=True)
        self.kill()
        await asyncio.gather(*(device.gone.wait() for device in self._devices))

    def kill(self) -> None:
        """End every worker at once."""
        self._draining = self._over = True
        for device in self._devices:
            device.kill()

    def submit(
        self, jobs: Sequence[Job], show: Show | None = None, within_s: float = math.inf
    ) -> list[asyncio.Future[Image]]:
        """Accept all of the jobs or none; cancelling a future frees its lane at the next step.

        `show` is told of the previews that the jobs ask for, until their futures are done. Jobs
        that are not expected to be finished `within_s`, for what is ahead of them, are refused.

        Raises QueueFull with the predicted wait, and Draining. A future fails with a `JobError`.
        """
        if self._draining:
            raise Draining
        self._check_room(len(jobs), within_s)
        if not self._tickets:
            self._pace.began(time.monotonic())
        futures = [self._accept(job, show) for job in jobs]
        self._dispatch()
        return futures

    def status(self) -> FleetStatus:
        """The whole fleet at this moment."""
        return FleetStatus(
            ready=all(device.was_ready for device in self._devices)
            and any(device.ready for device in self._devices),
            devices=[device.status() for device in self._devices],
            queue=QueueStatus(
                depth=len(self._tickets),
                wait_s=round(self._pace.wait_s(len(self._tickets)), 3),
            ),
        )

    def _check_room(self, images: int, within_s: float) -> None:
        ahead = len(self._tickets)
        if ahead + images > self._capacity:
            raise QueueFull(self._pace.wait_s(ahead + images - self._capacity))
        wait_s = self._pace.too_late_s(ahead, images, within_s)
        if wait_s > 0:
            raise QueueFull(wait_s)

    def _accept(self, job: Job, show: Show | None) -> asyncio.Future[Image]:
        ticket = Ticket(job, asyncio.get_running_loop().create_future(), show)
        self._tickets.add(ticket)
        self._queue.add(ticket)
        ticket.future.add_done_callback(lambda future: self._answered(ticket))
        return ticket.future

    def _answered(self, ticket: Ticket) -> None:
        """However it came: an image, an error, or nobody waits any more."""
        self._tickets.discard(ticket)
        if ticket in self._queue:
            self._queue.remove(ticket)
        for device in self._devices:
            if device.tickets.get(ticket.job.id) is ticket:
                device.send(Cancel(ticket.job.id))

    def _dispatch(self) -> None:
        for ticket in self._queue:
            device = self._best_device(ticket.job)
            if device is None:
                return
            self._queue.remove(ticket)
            device.run(ticket)

    def _best_device(self, job: Job) -> Device | None:
        """Where the model is resident before where it is not, then where the least is to do."""
        free = [device for device in self._devices if device.has_room]
        rank = lambda device: (job.model not in device.resident, len(device.tickets))  # noqa: E731
        return min(free, key=rank, default=None)

    def _launch(self, device: Device) -> None:
        if self._over:
            return
        models = self._registry.models
        begin = Begin(
            device=device.address,
            models={id: (spec, self._registry.path(id)) for id, spec in models.items()},
            preload=list(self._registry.preloaded()),
            threads=device.threads,
        )
        process = WorkerProcess(
            begin,
            hear=lambda message, pixels: self._hear(device, message, pixels),
            ended=lambda: self._ended(device),
        )
        device.launched(process)

    def _hear(self, device: Device, message: FromWorker, pixels: bytes) -> None:
        match message:
            case Hello(id, others):
                device.hello(id)
                self._add_devices(others)
            case State():
                if message.resident != device.resident:
                    self._pace.began(time.monotonic())
                device.says(message)
            case Shown(job_id, index, width, height):
                device.show(job_id, Preview(index, Image(width, height, pixels)))
            case Finished(job_id, width, height, seconds):
                self._finish(device, job_id, Image(width, height, pixels, seconds))
            case Failed(job_id, error):
                self._finish(device, job_id, error)
        self._dispatch()

    def _add_devices(self, ids: Sequence[str]) -> None:
        """`auto` was answered: there is more than one device."""
        for id in ids:
            self._devices.append(Device(id))
            self._launch(self._devices[-1])

    def _finish(self, device: Device, job_id: str, outcome: Image | Exception) -> None:
        ticket = device.finish(job_id, isinstance(outcome, Image))
        if ticket is None or ticket.future.done():
            return
        self._pace.finished(time.monotonic(), idle=len(self._tickets) == 1)
        if isinstance(outcome, Image):
            ticket.future.set_result(outcome)
        else:
            ticket.future.set_exception(outcome)

    def _ended(self, device: Device) -> None:
        """A worker has died: its jobs are run again, elsewhere or on the worker that follows it."""
        for ticket in reversed(device.bury()):
            self._retry(ticket)
        if not self._over:
            delay = device.backoff_s()
            log.error("the worker of %s died; another starts in %.1f s", device.id, delay)
            asyncio.get_running_loop().call_later(delay, self._launch, device)
        self._dispatch()

    def _retry(self, ticket: Ticket) -> None:
        if ticket.future.done():
            return
        ticket.deaths += 1
        if ticket.deaths < MAX_DEATHS:
            self._queue.add_first(ticket)
            return
        with contextlib.suppress(asyncio.InvalidStateError):
            ticket.future.set_exception(WorkerLost(f"{ticket.deaths} workers died with this job"))
