"""One device as the fleet sees it: its worker process, the jobs it has, what it says of itself."""

import asyncio
import os
from collections.abc import Sequence
from itertools import count

from pipelines.core import Preview
from pipelines.messages import Cancel, Run, State
from server.process import WorkerProcess
from server.queue import Ticket
from server.status import DeviceStatus, Loading
from server.status import State as Condition

MAX_LANES = 32
"""Jobs that a worker is given at once: enough to choose from, few enough to be lost with it."""

_NOTHING = State(resident=[], loading=[], lanes=0, ready=False)


def devices_of(addresses: Sequence[str]) -> list["Device"]:
    """The devices that an operator named; several CPU workers share the cores."""
    cpus = addresses.count("cpu")
    if cpus < 2:
        return [Device(address) for address in addresses]
    threads = max(1, (os.cpu_count() or 1) // cpus)
    number = count()
    return [
        Device("cpu", f"cpu:{next(number)}", threads) if address == "cpu" else Device(address)
        for address in addresses
    ]


class Device:
    """The state of one device; only the fleet changes it, on the event loop."""

    def __init__(self, address: str, id: str | None = None, threads: int | None = None) -> None:
        self.address = address
        """What torch calls it, or `auto`."""
        self.id = id or address
        self.threads = threads
        self.process: WorkerProcess | None = None
        self.state = _NOTHING
        self.tickets: dict[str, Ticket] = {}
        self.gone = asyncio.Event()
        self.was_ready = False
        self._greeted = False
        self._images_done = 0
        self._deaths = 0
        """Deaths since the last image."""

    @property
    def ready(self) -> bool:
        return self.state.ready

    @property
    def resident(self) -> list[str]:
        return self.state.resident

    @property
    def has_room(self) -> bool:
        return self._greeted and len(self.tickets) < MAX_LANES

    def launched(self, process: WorkerProcess) -> None:
        self.process = process
        self.gone.clear()

    def hello(self, address: str) -> None:
        """The worker owns its device, and can be given jobs."""
        if self.address != address:
            self.address = self.id = address
        self._greeted = True

    def says(self, state: State) -> None:
        """What the worker is about now."""
        self.state = state
        self.was_ready |= state.ready

    def run(self, ticket: Ticket) -> None:
        self.tickets[ticket.job.id] = ticket
        self.send(Run(ticket.job))

    def send(self, message: Run | Cancel) -> None:
        if self.process is not None:
            self.process.send(message)

    def show(self, job_id: str, preview: Preview) -> None:
        """A preview of one of the jobs here; a job that runs again shows some of them again."""
        ticket = self.tickets.get(job_id)
        if ticket is not None and ticket.show is not None and not ticket.future.done():
            ticket.show(ticket.job, preview)

    def finish(self, job_id: str, made: bool) -> Ticket | None:
        """A job has come to its end here; returns its ticket."""
        if made:
            self._images_done += 1
            self._deaths = 0
        return self.tickets.pop(job_id, None)

    def kill(self) -> None:
        if self.process is None:
            self.gone.set()
        else:
            self.process.kill()

    def bury(self) -> list[Ticket]:
        """The worker is dead; returns the jobs that were there."""
        lost = list(self.tickets.values())
        self.tickets.clear()
        self.process, self.state, self._greeted = None, _NOTHING, False
        self._deaths += 1
        self.gone.set()
        return lost

    def backoff_s(self) -> float:
        """Until the next worker is started: 0.1 s, doubling with each death, at most 30 s."""
        return float(min(0.1 * 2 ** (self._deaths - 1), 30.0))

    def status(self) -> DeviceStatus:
        return DeviceStatus(
            id=self.id,
            pid=self.process.pid if self.process else None,
            state=self._condition,
            resident=self.state.resident,
            loading=[Loading(model) for model in self.state.loading],
            lanes=self.state.lanes,
            images_done=self._images_done,
        )

    @property
    def _condition(self) -> Condition:
        if self.process is None:
            return "restarting" if self._deaths else "starting"
        if not self._greeted:
            return "starting"
        return "ready" if self.ready else "loading"
