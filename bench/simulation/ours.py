"""Our way: the product's own policy, queue, estimates and dispatch, with another clock."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass

from bench.simulation.device import Device, PassPolicy
from bench.simulation.idle import Assigned, Idle
from bench.simulation.lanes import Lane
from pipelines.core import Job
from pipelines.scheduling.curves import Curve, Curves
from pipelines.scheduling.policy import Policy
from server.fleet.dispatch import Dispatch
from server.fleet.estimates import Estimates
from server.fleet.queue import Queue


@dataclass(slots=True)
class _Steady(Curve):
    """Times that do not change need not be measured again."""

    def knows(self, rows: int) -> bool:
        return rows in self.seconds


class _SteadyCurves(Curves):
    make = _Steady


class Counting(Policy):
    """The product's policy, told of many equal passes at once."""

    def __init__(self) -> None:
        super().__init__(_SteadyCurves())

    def ran_often(self, calls: Sequence[Lane], seconds: float, passes: int) -> None:
        """As if each of them had been told: charged all, learned once."""
        curve = self.curves[calls[0].key]
        rows = sum(call.rows for call in calls)
        if rows not in curve.seconds:
            self.ran(calls, seconds)
            passes -= 1
        known = curve.seconds[rows]
        self.ran(calls, passes * seconds)
        curve.seconds[rows] = known

    def standing(self, waiting: Sequence[Lane], now: float) -> list[Lane]:
        """Everybody, the most urgent first."""
        return self._ranked(waiting, now)

    def as_it_is(self) -> Callable[[], None]:
        """What was charged can be taken back; times that are known do not change."""
        kept = deepcopy(self._shares)

        def take_back() -> None:
            self._shares = kept

        return take_back

    def knows(self, calls: Sequence[Lane]) -> bool:
        """Whether a pass of so many rows was measured."""
        return sum(call.rows for call in calls) in self.curves[calls[0].key].seconds


class Ours:
    """The product's queue, estimates, choice of a device and policy."""

    window_s = 0.0

    def __init__(self, short_list: bool = True) -> None:
        """`short_list`: where one device is the obvious choice, the others are not looked at."""
        self._short_list = short_list
        self._queue = Queue[Lane]()
        self._estimates = Estimates(lambda model: 10**10)
        self._dispatch = Dispatch[Lane, Device](self._queue, self._estimates.load_s)

    def policy(self) -> PassPolicy:
        return Counting()

    def own(self, devices: Sequence[Device]) -> None:
        self._devices, self._idle = devices, Idle(devices)

    def work_s(self, job: Job) -> float:
        return self._estimates.work_s(job)

    def add(self, lane: Lane) -> None:
        self._queue.add(lane)

    def assign(self, now: float) -> Assigned:
        """As the fleet does it."""
        for lane, device in self._dispatch.assignments(self._candidates(), now):
            device.load.given(lane.work_s, now)
            yield lane, device

    def _candidates(self) -> Sequence[Device]:
        """An idle device that has the model cannot be beaten: what is left to do there is 0."""
        if self._short_list and len(self._queue) == 1:
            best = self._idle.first(next(iter(self._queue)).job.model)
            return self._devices if best is None else [best]
        return self._devices

    def ended(self, lane: Lane, device: Device, now: float) -> None:
        """What the fleet does when a job is finished."""
        idle = not device.tickets
        device.load.settled(lane.work_s, lane.device_seconds, now, idle=idle)
        self._estimates.finished(lane.job, lane.device_seconds)
        self._queue.charge(lane.job, lane.device_seconds)
        if idle:
            self._idle.add(device)

    def loaded(self, model: str, seconds: float) -> None:
        self._estimates.loaded(model, seconds)
