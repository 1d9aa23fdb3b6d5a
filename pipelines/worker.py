"""The process around an engine: it owns a device; a connection to the server is its only tie.

`python -m pipelines.worker FD PULSE` is started by the server with one end of a socket pair, and
memory that shows whether it hangs. The process
ends when the server's end closes, whatever it was doing.
"""

import logging
import os
import select
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from pipelines.core import Image, JobError, ModelUnavailable, Preview
from pipelines.messages import (
    Begin,
    Cancel,
    Failed,
    Finished,
    Hello,
    Run,
    Shown,
    State,
    ToWorker,
    Work,
)
from pipelines.models.budgets import available_memory, bound_allocator, memory_of, settle
from pipelines.models.cuda_driver import diagnose, unsupported
from pipelines.models.equipment import bytes_taken
from pipelines.models.quantizations import unable
from pipelines.scheduling.policy import Policy
from pipelines.scheduling.probe import is_probe, probes
from pipelines.scheduling.pulse import Pulse
from pipelines.scheduling.times import Times, device_name

if TYPE_CHECKING:
    from pipelines.engine import Engine, Report
    from pipelines.models.loader import Resident
    from pipelines.models.pool import Load, Pool
    from pipelines.models.residence import Residence

TELL_EVERY_S = 1.0
_WORTH_TELLING = 2**30
"""Bytes of a GPU that other processes use."""

log = logging.getLogger(__name__)


class Worker:
    """One engine, fed from the connection; a loaded model rings a bell."""

    def __init__(self, connection: Connection, begin: Begin, pulse: Pulse) -> None:
        self._connection = connection
        self._pulse = pulse
        self._bell, self._rope = os.pipe()
        self._said_by = select.poll()
        for fd in (connection.fileno(), self._bell):
            self._said_by.register(fd, select.POLLIN)
        self._preloading = list(begin.preload)
        self._said: State | None = None
        self._specs = {model: spec for model, (spec, _) in begin.models.items()}
        self._probing = begin.device.startswith("cuda")
        self._told = Work({}, 0.0, 0)
        self._told_at = 0.0
        self._times = Times(begin.times, device_name(begin.device, begin.threads))
        self._policy = Policy(self._times.load())
        self._pool: Pool[Resident]
        self._engine: Engine
        self._pool, self._engine, residence = _assemble(
            begin, self._policy, self._report, self._wake, pulse
        )
        self._too_large = _too_large(begin, self._pool, residence)

    def run(self) -> None:
        """Until the process ends: hear, step, say what has changed."""
        self._preload()
        while True:
            self._engine.step()
            self._preload()
            self._say_state()
            self._say_work(time.monotonic())
            self._hear()

    def _hear(self) -> None:
        """Everything that was said; waits for it only when there is nothing else to do."""
        patience = None if self._engine.lanes == 0 else 0
        while said := self._said_by.poll(patience):
            for fd, _ in said:
                if fd == self._bell:
                    os.read(fd, 4096)
                else:
                    self._obey(self._receive())
            patience = 0

    def _obey(self, message: ToWorker) -> None:
        match message:
            case Run(job, waited_s, slot):
                self._pulse.assign_slot(job.id, slot)
                self._engine.submit(job, waited_s)
            case Cancel(job_id):
                self._engine.cancel(job_id)

    def _receive(self) -> ToWorker:
        self._pulse.receive()
        try:
            message: ToWorker = self._connection.recv()
        except (EOFError, OSError):
            self._times.save(self._policy.curves, time.monotonic(), every_s=0)
            os._exit(0)  # the server is gone, and nobody waits for anything here
        self._pulse.hear()
        return message

    def _wake(self) -> None:
        os.write(self._rope, b"!")

    def _preload(self) -> None:
        self._preloading = [model for model in self._preloading if not self._settled(model)]

    def _settled(self, model: str) -> bool:
        """Begins to load a model; true once it is resident, or could not be loaded."""
        try:
            return self._pool.get(model) is not None
        except ModelUnavailable as error:
            log.error("%s", error)
            return True

    def _say_state(self) -> None:
        state = State(
            resident=self._pool.resident,
            loading=self._pool.loading,
            lanes=self._engine.lanes,
            ready=not self._preloading,
            too_large=self._too_large,
        )
        if state != self._said:
            if self._probing:
                self._probe(set(state.resident) - set(self._said.resident if self._said else ()))
            self._said = state
            self._connection.send(state)

    def _probe(self, loaded: Collection[str]) -> None:
        """Have passes of models measured of which nothing is known, before they are asked for."""
        known = {key.partition(":")[0] for key in self._policy.curves.all()}
        for model in loaded:
            resident = self._pool.get(model)
            meetings = resident.meetings if resident else []
            if meetings and known.isdisjoint(it.name for it in meetings):
                for job in probes(model, self._specs[model]):
                    self._engine.submit(job)

    def _say_work(self, now: float) -> None:
        """What was done, once a second while there is something to do, and when all is done."""
        if self._engine.lanes and now - self._told_at < TELL_EVERY_S:
            return
        tally = self._engine.passes.tally
        work = Work(dict(tally.passes), tally.busy_s, self._pool.evictions)
        if work != self._told:
            self._told, self._told_at = work, now
            self._connection.send(work)
            self._times.save(self._policy.curves, now)

    def _report(self, job_id: str, outcome: Image | Preview | JobError) -> None:
        if is_probe(job_id):
            return
        self._pulse.forget_job(job_id)
        match outcome:
            case Image(width, height, pixels, seconds, unread, steps):
                self._connection.send(Finished(job_id, width, height, seconds, unread, steps))
                self._connection.send_bytes(pixels)
            case Preview(index, image):
                self._connection.send(Shown(job_id, index, image.width, image.height))
                self._connection.send_bytes(image.pixels)
            case JobError():
                self._connection.send(Failed(job_id, outcome))


def _assemble(
    begin: Begin, policy: Policy, report: "Report", wake: Callable[[], None], pulse: Pulse
) -> tuple["Pool[Resident]", "Engine", "Residence"]:
    from pipelines.engine import Engine
    from pipelines.models.pool import Pool
    from pipelines.models.residence import Residence
    from pipelines.models.room import Room
    from pipelines.scheduling.stopwatch import stopwatch

    available = available_memory(begin.device, begin.aside)
    _tell_of_others(begin.device, available)
    budget = begin.memory * available
    residence = Residence(begin, budget, wake)
    room = Room(residence.budget, residence.loras)
    load = _marked(residence.load, list(begin.models), pulse)
    pool = Pool(load, wake, room, residence.footprint, residence.leave)
    return pool, Engine(pool, policy, stopwatch(begin.device), report, pulse), residence


def _marked(load: "Load[Resident]", models: list[str], pulse: Pulse) -> "Load[Resident]":
    """Mark in the heartbeat which model is being loaded: a worker may die of it."""

    def marked(model: str, given_up: "list[Resident]", tell: Callable[[float], None]) -> "Resident":
        pulse.start_loading(models.index(model))
        try:
            return load(model, given_up, tell)
        finally:
            pulse.end_loading()

    return marked


def _too_large(begin: Begin, pool: "Pool[Resident]", residence: "Residence") -> list[str]:
    """The models that do not fit; they, and what an entry asks for in vain, are logged."""
    installed = [model for model, (_, place) in begin.models.items() if place.exists()]
    too_large = [model for model in installed if not pool.fits(model)]
    for model in installed:
        if (reason := unable(begin.models[model][0].quantization, begin.device)) is not None:
            log.warning("%s: %s", model, reason)
        if model in too_large:
            log.warning("%s does not fit on %s: %s", model, begin.device, residence.remedy(model))
    if not pool.fits(*begin.preload):
        log.warning("what is preloaded does not fit on %s together", begin.device)
    return too_large


def _own_device(begin: Begin) -> tuple[Begin, Hello]:
    """Settle `auto`, and set what belongs to the process: threads, grad mode, current device."""
    import torch

    device, *others = settle(begin.device)
    if begin.device == "auto":
        _warn_of_unused_gpus(device)
    if device.startswith("cuda"):
        _use(device)
    if begin.threads:
        torch.set_num_threads(begin.threads)
    torch.set_grad_enabled(False)
    aside = bytes_taken(begin.aide, device) if begin.aide else 0
    bound_allocator(device, begin.aside + aside)
    each = begin.host_memory / (1 + len(others))
    begin = replace(begin, device=device, aside=begin.aside + aside, host_memory=each)
    return begin, Hello(device, others)


def _use(device: str) -> None:
    """Make a CUDA device the current one, or end this process with a plain reason."""
    import torch

    try:
        torch.cuda.set_device(device)
        torch.cuda.mem_get_info(device)  # which initialises it
        reason = unsupported(torch.device(device).index or 0)
    except (RuntimeError, AssertionError) as error:
        reason = diagnose() or str(error).partition("\n")[0]
    if reason is not None:
        log.error("%s cannot be used: %s", device, reason)
        os._exit(1)


def _warn_of_unused_gpus(device: str) -> None:
    """Tell why `auto` leaves out a GPU of this machine, or all of them."""
    import torch

    if device == "cpu" and (reason := diagnose()) is not None:
        log.warning("NO GPU IS USED, images are made on the CPU: %s", reason)
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            if (reason := unsupported(index)) is not None:
                log.warning("cuda:%d is not used: %s", index, reason)


def _tell_of_others(device: str, available: int) -> None:
    """Log what other processes take of a GPU."""
    taken = memory_of(device) - available
    if taken > _WORTH_TELLING:
        log.warning(
            "%s: %.1f of %.1f GB are used by other processes; models get their share of the rest "
            "for as long as this worker runs",
            device,
            taken / 1e9,
            memory_of(device) / 1e9,
        )


def main(fd: int, pulse: int) -> None:
    """Hear `Begin`, answer `Hello`, work until the server is gone."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    connection, alive = Connection(fd), Pulse(pulse)
    alive.begin()  # until the first step: a device may not answer
    begin, hello = _own_device(connection.recv())
    connection.send(hello)
    _quiet_libraries()
    try:
        Worker(connection, begin, alive).run()
    except BaseException:
        log.exception("the worker of %s ends", begin.device)
        os._exit(1)  # at once: a thread that loads a model would be waited for, by its jobs too


def _quiet_libraries() -> None:
    # They tell at length what they could do with other packages, or on another machine.
    for name in ("bitsandbytes", "torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)
    import diffusers
    import transformers

    diffusers.utils.logging.set_verbosity_error()
    transformers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
