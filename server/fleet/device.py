"""One device as the fleet sees it: its worker process, the jobs it has, what it says of itself."""

import asyncio
import os
from collections.abc import Sequence
from itertools import count

from pipelines.core import Preview
from pipelines.messages import Cancel, State, Work
from server.fleet.dispatch import Load
from server.fleet.process import Death, WorkerProcess
from server.fleet.quarantine import Turn
from server.fleet.queue import Ticket
from server.fleet.status import DeviceStatus, Loading
from server.fleet.status import State as Condition

SET_ASIDE_AFTER = 5
"""Deaths in a row, without an image in between."""

SET_ASIDE_S = 300.0
ALONE_S = 30.0
"""The longest time until a disabled device is tried again while no other one works."""

_NOTHING = State(resident=[], loading={}, lanes=0, ready=False)
_NO_WORK = Work({}, 0.0, 0)


def devices_of(addresses: Sequence[str]) -> list["Device"]:
    """The devices that an operator named; several CPU workers share the cores."""
    cpus = addresses.count("cpu")
    if cpus < 2:
        return [Device(address) for address in addresses]
    threads = max(1, (os.cpu_count() or 1) // cpus)
    number = count()
    return [
        Device("cpu", f"cpu:{next(number)}", threads, 1 / cpus)
        if address == "cpu"
        else Device(address)
        for address in addresses
    ]


class Device:
    """The state of one device; only the fleet changes it, on the event loop."""

    def __init__(
        self, address: str, id: str | None = None, threads: int | None = None, share: float = 1.0
    ) -> None:
        self.address = address
        """What torch calls it, or `auto`."""
        self.id = id or address
        self.threads = threads
        self.share = share
        """Of what it is addressed by: several CPU workers share the host."""
        self.process: WorkerProcess | None = None
        self.state = _NOTHING
        self.tickets: dict[str, Ticket] = {}
        self.load = Load()
        self.deaths = 0
        """Since the server started."""
        self.gone = asyncio.Event()
        self.was_ready = False
        self.turn = Turn()
        self.last_death: Death | None = None
        self.barred: set[str] = set()
        """Models that are not loaded: worker after worker died while it loaded them."""
        self._greeted = False
        self._images_done = 0
        self._deaths_in_a_row = 0
        self._deaths_loading: dict[str, int] = {}
        """In a row, by the model that was being loaded."""
        self._known_too_large: list[str] = []
        self._came_up = False
        """Whether the present worker, or the last one, could be given jobs."""
        self._loading_since: dict[str, float] = {}
        self._work = self._work_before = _NO_WORK

    @property
    def ready(self) -> bool:
        return self.state.ready

    @property
    def resident(self) -> list[str]:
        return self.state.resident

    @property
    def is_up(self) -> bool:
        """Whether there is a worker to be given jobs, that has said what does not fit."""
        return self.state is not _NOTHING

    @property
    def open(self) -> bool:
        """Whether it can be given any job: it is up, and not reserved for suspects."""
        return self.is_up and not self.turn.reserved

    def suits(self, model: str) -> bool:
        """Whether it can be expected to make images of a model, now or later."""
        if self.set_aside or model in self.barred:
            return False
        return model not in self.state.too_large

    def may_suit_later(self, model: str) -> bool:
        """Whether it may make images of a model once it is tried again."""
        return (self.set_aside or model in self.barred) and model not in self._known_too_large

    @property
    def is_hopeless(self) -> bool:
        """Whether it is disabled, and its last worker died before it could be given a job."""
        return self.set_aside and not self._came_up

    @property
    def set_aside(self) -> bool:
        """Its worker died again and again; another is tried only now and then."""
        return self.process is None and self._deaths_in_a_row >= SET_ASIDE_AFTER

    def launched(self, process: WorkerProcess) -> None:
        self.process, self._came_up = process, False
        self.gone.clear()

    def hello(self, address: str) -> None:
        """The worker owns its device, and can be given jobs."""
        if self.address != address:
            self.address = self.id = address
        self._greeted = True

    def says(self, state: State, now: float) -> dict[str, float]:
        """What the worker is about now; returns the models just loaded, and in how many seconds."""
        loaded = {
            model: now - since
            for model, since in self._loading_since.items()
            if model in state.resident
        }
        began = {model: self._loading_since.get(model, now) for model in state.loading}
        self.state, self._loading_since = state, began
        self._known_too_large, self._came_up = state.too_large, True
        self.was_ready |= state.ready
        for model in state.resident:
            self._deaths_loading.pop(model, None)
        return loaded

    def worked(self, work: Work) -> None:
        """What the worker has done since it started."""
        self._work = work

    def run(self, ticket: Ticket, now: float) -> None:
        """Give it a job."""
        self.tickets[ticket.job.id] = ticket
        self.load.given(ticket.work_s, now)
        if self.process is not None:
            self.process.run(ticket.job, now - ticket.arrived)

    def send(self, message: Cancel) -> None:
        if self.process is not None:
            self.process.send(message)

    def show(self, job_id: str, preview: Preview) -> None:
        """A preview of one of the jobs here. A job that runs again makes them again: shown once."""
        ticket = self.tickets.get(job_id)
        if ticket is None or ticket.show is None or ticket.future.done():
            return
        if preview.index >= ticket.previews_shown:
            ticket.previews_shown = preview.index + 1
            ticket.show(ticket.job, preview)

    def finish(self, job_id: str, seconds: float | None, now: float) -> Ticket | None:
        """A job has come to its end here, an image after so many seconds; returns its ticket."""
        ticket = self.tickets.pop(job_id, None)
        if seconds is not None:
            self._images_done += 1
            self._deaths_in_a_row = 0
        if ticket is not None:
            self.load.settled(ticket.work_s, seconds or 0.0, now, idle=not self.tickets)
        return ticket

    def kill(self) -> None:
        if self.process is None:
            self.gone.set()
        else:
            self.process.kill()

    def bury(self, death: Death) -> list[Ticket]:
        """The worker is dead; returns the jobs that were there."""
        lost = list(self.tickets.values())
        self.tickets.clear()
        self.last_death = death
        self.process, self.state, self._greeted = None, _NOTHING, False
        self.load, self._loading_since = Load(), {}
        self._work, self._work_before = _NO_WORK, self._all_work
        self.deaths += 1
        self._deaths_in_a_row += 1
        self._note_loading(death.loading)
        self.gone.set()
        return lost

    def _note_loading(self, model: str | None) -> None:
        """A model at whose loading worker after worker dies is barred, instead of the device."""
        if model is None:
            return self._deaths_loading.clear()
        count = self._deaths_loading[model] = self._deaths_loading.get(model, 0) + 1
        if count >= SET_ASIDE_AFTER:
            self.barred.add(model)
            self._deaths_in_a_row = 1

    def backoff_s(self, alone: bool = False) -> float:
        """Until the next worker is started: 0.1 s, doubling with each death in a row.

        Five minutes for a disabled device; less if it is `alone`, and no other device works.
        """
        doubled = float(0.1 * 2 ** min(self._deaths_in_a_row - 1, 20))
        if self.set_aside:
            return min(doubled, ALONE_S) if alone else SET_ASIDE_S
        return doubled

    def status(self) -> DeviceStatus:
        return DeviceStatus(
            id=self.id,
            pid=self.process.pid if self.process else None,
            state=self._condition,
            resident=self.state.resident,
            loading=[Loading(*it) for it in self.state.loading.items()],
            lanes=self.state.lanes,
            images_done=self._images_done,
            deaths=self.deaths,
            last_death=str(self.last_death) if self.last_death else None,
            barred=sorted(self.barred),
            suspects=len(self.tickets) if self.turn.running else 0,
            passes=dict(sorted(self._all_work.passes.items())),
            busy_s=round(self._all_work.busy_s, 3),
            evictions=self._all_work.evictions,
            too_large=self.state.too_large,
        )

    @property
    def _all_work(self) -> Work:
        """Of this worker and all before it."""
        before, now = self._work_before, self._work
        rows = before.passes.keys() | now.passes.keys()
        return Work(
            {n: before.passes.get(n, 0) + now.passes.get(n, 0) for n in rows},
            before.busy_s + now.busy_s,
            before.evictions + now.evictions,
        )

    @property
    def _condition(self) -> Condition:
        if self.set_aside:
            return "set aside"
        if self.process is None:
            return "restarting" if self.deaths else "starting"
        if not self._greeted:
            return "starting"
        return "ready" if self.ready else "loading"
