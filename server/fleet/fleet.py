"""The devices and their worker processes: dispatch, watch, restart, run again what was lost.

Jobs that were running when a worker died run again in quarantine; those that only waited do not.

Knows which jobs are where, on one event loop. It does not know how an image is made, or who asked.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Sequence

from pipelines.core import (
    Image,
    Job,
    JobCancelled,
    JobError,
    ModelUnavailable,
    NoDeviceLeft,
    Preview,
    WorkerLost,
)
from pipelines.messages import (
    Begin,
    Cancel,
    Failed,
    Finished,
    FromWorker,
    Hello,
    Shown,
    State,
    Work,
)
from pipelines.registry import Registry
from server.config import Config
from server.errors import Draining, NoDevice
from server.fleet.admission import Admission
from server.fleet.aide import equipment
from server.fleet.device import SET_ASIDE_S, Device, devices_of
from server.fleet.dispatch import Dispatch
from server.fleet.estimates import GUESS_S, Estimates
from server.fleet.process import Death, WorkerProcess
from server.fleet.quarantine import Quarantine
from server.fleet.queue import Queue, Show, Spent, Ticket
from server.fleet.status import FleetStatus, QueueStatus
from server.fleet.watching import Observer

LOOK_EVERY_S = 0.5
"""How often workers are looked at that may hang."""

log = logging.getLogger(__name__)


class Fleet:
    """One worker process for each device, and the bounded queue before them."""

    def __init__(self, config: Config, registry: Registry) -> None:
        self._config = config
        self._registry = registry
        self.observer = Observer()
        """Told of every job: whoever wants to see them puts itself here."""
        self._devices = devices_of(config.devices)
        self._queue = Queue[Ticket]()
        self._estimates = Estimates(registry.size)
        self._dispatcher = Dispatch[Ticket, Device](self._queue, self._estimates.load_s)
        self._admission = Admission(config.max_queue, config.max_wait_s)
        self._quarantine = Quarantine[Ticket]()
        self._tickets: set[Ticket] = set()
        self._watch: asyncio.Task[None] | None = None
        self._draining = self._over = False

    async def start(self) -> None:
        """Start the workers; they load what is preloaded while the server already answers."""
        self._watch = asyncio.create_task(self._keep_watching())
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
        """End every worker at once, and with them what was accepted."""
        self._draining = self._over = True
        if self._watch is not None:
            self._watch.cancel()
        for device in self._devices:
            device.kill()
        for ticket in list(self._tickets):
            self._fail(ticket, JobCancelled())

    def check(self, images: int) -> None:
        """Raises what `submit` would raise, as far as the number of images tells it already."""
        if self._draining:
            raise Draining
        if all(device.is_hopeless for device in self._devices):
            raise NoDevice
        ahead = len(self._tickets)
        self._admission.check_images(ahead, self._wait_s(), images, self._image_s())

    def submit(
        self,
        jobs: Sequence[Job],
        show: Show | None = None,
        within_s: float = math.inf,
        spent: Spent | None = None,
    ) -> list[asyncio.Future[Image]]:
        """Accept all of the jobs or none; cancelling a future frees its lane at the next step.

        `show` is told of the previews that the jobs ask for, until their futures are done, and
        `spent` of what jobs took of a device whose futures are no images. Jobs
        that are not expected to be finished `within_s`, for what is ahead of them, are refused.

        Raises QueueFull with the predicted wait, NoDevice and Draining. A future fails with a
        `JobError`.
        """
        self.check(len(jobs))
        work_s = [self._estimates.work_s(job) for job in jobs]
        if self._tickets and self._estimates.measured:  # nobody is refused by a mere guess
            asked_s = sum(work_s) / self._workers
            self._admission.check_wait(self._wait_s(), len(jobs), asked_s, within_s)
        deadline = time.monotonic() + min(within_s, self._config.max_wait_s)
        futures = []
        for job, seconds in zip(jobs, work_s, strict=True):
            future: asyncio.Future[Image] = asyncio.get_running_loop().create_future()
            now = time.monotonic()
            self._accept(Ticket(job, future, now, seconds, show, spent, deadline))
            futures.append(future)
        self._dispatch()
        return futures

    def status(self) -> FleetStatus:
        """The whole fleet at this moment."""
        return FleetStatus(
            ready=all(device.was_ready or device.set_aside for device in self._devices)
            and any(device.ready for device in self._devices),
            devices=[device.status() for device in self._devices],
            queue=QueueStatus(
                depth=len(self._tickets),
                waiting=len(self._queue) + len(self._quarantine.waiting),
                suspects=len(self._quarantine),
                wait_s=round(self._wait_s(), 3),
            ),
        )

    @property
    def _workers(self) -> int:
        return max(1, sum(device.is_up for device in self._devices))

    def _wait_s(self) -> float:
        """The predicted seconds until all that was accepted is finished."""
        now = time.monotonic()
        queued = sum(ticket.work_s for ticket in self._queue)
        queued += sum(ticket.work_s for ticket in self._quarantine.waiting)
        given = sum(device.load.left(now) for device in self._devices)
        return (queued + given) / self._workers

    def _image_s(self) -> float:
        """The predicted seconds in which one more of the accepted images is finished."""
        work_s = sum(ticket.work_s for ticket in self._tickets)
        return work_s / max(1, len(self._tickets)) / self._workers or GUESS_S

    def _accept(self, ticket: Ticket) -> None:
        self._tickets.add(ticket)
        self._queue.add(ticket)
        ticket.future.add_done_callback(lambda _: self._answered(ticket))

    def _answered(self, ticket: Ticket) -> None:
        """However it came: an image, an error, or nobody waits any more."""
        self._tickets.discard(ticket)
        if ticket in self._queue:
            self._queue.remove(ticket)
        made = not ticket.future.cancelled() and ticket.future.exception() is None
        self._quarantine.clear(ticket, made, time.monotonic())
        for device in self._devices:
            if device.tickets.get(ticket.job.id) is ticket:
                device.send(Cancel(ticket.job.id))
        self.observer.ended(ticket.job, ticket.future)

    def _dispatch(self) -> None:
        now = time.monotonic()
        self._isolate(now)
        for ticket, device in self._dispatcher.assignments(self._devices, now):
            self._run(ticket, device, now)

    def _run(self, ticket: Ticket, device: Device, now: float) -> None:
        device.run(ticket, now)
        self.observer.dispatched(ticket.job, now - ticket.arrived)

    def _isolate(self, now: float) -> None:
        """Run suspects, each group on a device that has nothing else to do meanwhile."""
        for device in sorted(self._devices, key=lambda device: device.load.left(now)):
            if not device.is_up:
                continue
            if device.turn.running and not device.tickets:
                device.turn.release(now)
            if not device.turn.reserved and self._may_reserve(device, now):
                device.turn.reserve(now)
            if device.turn.reserved and not device.tickets:
                self._run_suspects(device, now)

    def _may_reserve(self, device: Device, now: float) -> bool:
        """Suspects hold up others on one device at a time, and no more than every other turn."""
        if not self._quarantine.waits_for(device.id, self._devices_for):
            return False
        if not device.tickets and not self._queue:
            return True
        if any(each.turn.reserved for each in self._devices):
            return False
        return device.turn.has_rested(now)

    def _run_suspects(self, device: Device, now: float) -> None:
        group = self._quarantine.take(device.id, self._devices_for)
        if not group:
            return device.turn.release(now)  # meanwhile nobody waits for them any more
        device.turn.run()
        log.info("%s runs %s in quarantine", device.id, _ids(group))
        for ticket in group:
            self._run(ticket, device, now)

    def _devices_for(self, ticket: Ticket) -> list[str]:
        """The devices that may run a job; if it fits on none, one that says so is one of them."""
        model = ticket.job.model
        found = [device.id for device in self._devices if device.suits(model)]
        if found or any(device.may_suit_later(model) for device in self._devices):
            return found
        return [device.id for device in self._devices]

    def _launch(self, device: Device) -> None:
        if self._over:
            return
        models = self._registry.models
        begin = Begin(
            device=device.address,
            models={id: (spec, self._registry.path(id)) for id, spec in models.items()},
            preload=[it for it in self._registry.preloaded() if it not in device.barred],
            threads=device.threads,
            times=self._config.data_dir / "times",
            matting=self._registry.matting,
            loras=self._registry.loras.folder,
            inspector=self._registry.policy.images,
            memory=self._config.memory * device.share,
            host_memory=self._config.host_memory / len(self._devices),
            aide=equipment(self._config, self._registry),
        )
        try:
            process = WorkerProcess(
                begin,
                hear=lambda message, pixels: self._hear(device, message, pixels),
                ended=lambda: self._ended(device, *_end_of(device.process)),
            )
        except OSError as error:
            log.error("a worker of %s could not be started: %s", device.id, error)
            return self._ended(device, Death(), frozenset())
        device.launched(process)

    def _hear(self, device: Device, message: FromWorker, pixels: bytes) -> None:
        match message:
            case Hello(id, others):
                device.hello(id)
                self._add_devices(others)
            case State():
                for model, seconds in device.says(message, time.monotonic()).items():
                    self._estimates.loaded(model, seconds)
            case Work():
                device.worked(message)
            case Shown(job_id, index, width, height):
                device.show(job_id, Preview(index, Image(width, height, pixels)))
            case Finished(job_id, width, height, seconds, unread, steps):
                self._finish(device, job_id, Image(width, height, pixels, seconds, unread, steps))
            case Failed(job_id, error):
                self._finish(device, job_id, error)
        self._dispatch()

    def _add_devices(self, ids: Sequence[str]) -> None:
        """`auto` was answered: there is more than one device."""
        found = [Device(id) for id in ids]
        self._devices += found  # all of them: what they share is divided by their number
        for device in found:
            self._launch(device)

    def _finish(self, device: Device, job_id: str, outcome: Image | JobError) -> None:
        seconds, made = outcome.device_seconds, isinstance(outcome, Image)
        ticket = device.finish(job_id, seconds if made else None, time.monotonic())
        if ticket is None:
            return
        self._queue.charge(ticket.job, seconds)
        if made:
            self._estimates.finished(ticket.job, seconds)
        if seconds and ticket.spent and (ticket.future.done() or not made):
            ticket.spent(ticket.job, seconds)
        if ticket.future.done():
            return
        if isinstance(outcome, Image):
            ticket.future.set_result(outcome)
        else:
            ticket.future.set_exception(outcome)

    async def _keep_watching(self) -> None:
        """End the workers that hang; what follows is as for any other death."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            now = time.monotonic()
            for device in self._devices:
                if device.process is not None and device.process.hangs(now):
                    log.error("the worker of %s hangs, and is ended", device.id)
                    device.process.end_hanging()
            self._give_up(now)
            self._dispatch()  # the turn of suspects comes with time alone

    def _give_up(self, now: float) -> None:
        """Fail the jobs for which no device works, once their clients have waited long enough."""
        for ticket in list(self._tickets):
            if now <= ticket.deadline:
                continue
            model = ticket.job.model
            if not any(device.suits(model) for device in self._devices) and any(
                device.may_suit_later(model) for device in self._devices
            ):
                self._fail(ticket, self._nothing_for(model))

    def _nothing_for(self, model: str) -> JobError:
        if any(model in device.barred for device in self._devices):
            return ModelUnavailable(f"worker after worker died while it loaded '{model}'")
        return NoDeviceLeft("no device has a worker that lives")

    def _ended(self, device: Device, death: Death, started: frozenset[str]) -> None:
        """A worker has died: its jobs run again, those that were running in quarantine."""
        barred, was_up = set(device.barred), device.is_up
        lost = device.bury(death)
        if was_up:
            self._suspect(device, death, lost, started)
        if not self._over:
            self._restart(device, death)
            for model in device.barred - barred:
                self._allow_later(device, model)
        self._dispatch()

    def _suspect(
        self, device: Device, death: Death, lost: list[Ticket], started: frozenset[str]
    ) -> None:
        running = [ticket for ticket in lost if ticket.job.id in started]
        alive = [ticket for ticket in running if not ticket.future.done()]
        waiting = [
            ticket for ticket in lost if ticket.job.id not in started and not ticket.future.done()
        ]
        self._quarantine.put_back([ticket for ticket in waiting if ticket in self._quarantine])
        for ticket in waiting:
            if ticket not in self._quarantine:
                self._queue.add(ticket)
        others = len(running) - len(alive) + (death.loading is not None)
        now, outside = time.monotonic(), death.from_outside
        guilty = self._quarantine.add_death(alive, device.id, outside, now, others)
        if alive:
            log.warning("%s ran when the worker of %s died", _ids(alive), device.id)
        if guilty is not None:
            log.error("job %s is given up: workers die when it runs alone", guilty.job.id)
            self._fail(guilty, WorkerLost("worker after worker died while it ran this job alone"))

    def _restart(self, device: Device, death: Death) -> None:
        delay = device.backoff_s(all(each.set_aside for each in self._devices))
        log.error("the worker of %s died (%s); another starts in %.1f s", device.id, death, delay)
        asyncio.get_running_loop().call_later(delay, self._launch, device)

    def _allow_later(self, device: Device, model: str) -> None:
        """Load a model again after a while; at the next death it is barred again."""
        log.error("%s is not loaded on %s: workers die while they load it", model, device.id)

        def allow() -> None:
            device.barred.discard(model)
            self._dispatch()

        asyncio.get_running_loop().call_later(SET_ASIDE_S, allow)

    def _fail(self, ticket: Ticket, error: Exception) -> None:
        with contextlib.suppress(asyncio.InvalidStateError):
            ticket.future.set_exception(error)


def _end_of(process: WorkerProcess | None) -> tuple[Death, frozenset[str]]:
    """How a worker's process ended, and which jobs it had started."""
    if process is None or process.death is None:
        return Death(), frozenset()
    return process.death, process.started


def _ids(tickets: Sequence[Ticket]) -> str:
    return ", ".join(ticket.job.id for ticket in tickets)
