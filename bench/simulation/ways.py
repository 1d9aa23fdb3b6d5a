"""Four ways to serve the same requests: ours, which is the product's own code, and three rivals."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from bench.simulation.device import Device, PassPolicy
from bench.simulation.idle import Assigned, Idle
from bench.simulation.lanes import Lane
from bench.simulation.ours import Ours
from pipelines.core import Job
from pipelines.lanes.joins import Stage
from pipelines.scheduling.policy import MOST_ROWS


class Way(Protocol):
    """Which job goes to which device, and who goes next there."""

    window_s: float
    """Look again so long after each arrival; 0: no need."""

    def policy(self) -> PassPolicy:
        """For one device."""
        ...

    def own(self, devices: Sequence[Device]) -> None: ...
    def work_s(self, job: Job) -> float: ...
    def add(self, lane: Lane) -> None: ...
    def assign(self, now: float) -> Assigned: ...
    def ended(self, lane: Lane, device: Device, now: float) -> None: ...
    def loaded(self, model: str, seconds: float) -> None: ...


class OldestFirst:
    """The oldest call, with every other of its kind that there is room for.

    Encoding and decoding go before steps, as in the product.
    """

    def choose(self, waiting: Sequence[Lane], now: float) -> list[Lane]:
        """All of one kind, in the order of their arrival."""
        between = [lane for lane in waiting if lane.stage is not Stage.DENOISE]
        oldest = min(between or waiting, key=lambda lane: lane.arrived)
        alike = [lane for lane in waiting if lane.key == oldest.key]
        alike.sort(key=lambda lane: lane.arrived)
        return alike[: MOST_ROWS // oldest.rows]

    def ran_often(self, calls: Sequence[Lane], seconds: float, passes: int) -> None:
        """It learns nothing."""

    def standing(self, waiting: Sequence[Lane], now: float) -> list[Lane]:
        return self.choose(waiting, now)

    def as_it_is(self) -> Callable[[], None]:
        return lambda: None

    def knows(self, calls: Sequence[Lane]) -> bool:
        return True


class _Rival:
    window_s = 0.0

    def policy(self) -> PassPolicy:
        return OldestFirst()

    def own(self, devices: Sequence[Device]) -> None:
        self._devices, self._idle = devices, Idle(devices)

    def work_s(self, job: Job) -> float:
        return 0.0

    def ended(self, lane: Lane, device: Device, now: float) -> None:
        if not device.tickets:
            self._idle.add(device)

    def loaded(self, model: str, seconds: float) -> None:
        """Nobody asks."""

    def _free(self, model: str) -> Device | None:
        """A device with nothing to do: one that has the model, or any where none has it."""
        device = self._idle.first(model)
        if device is None and not any(each.expects(model) for each in self._devices):
            device = self._idle.first()
        return device


class Fifo(_Rival):
    """One job at a time on each device, in the order of their arrival."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Lane]] = {}

    def add(self, lane: Lane) -> None:
        self._waiting.setdefault(lane.job.model, deque()).append(lane)

    def assign(self, now: float) -> Assigned:
        """The oldest first; a job whose model is elsewhere does not hold up the others."""
        while ready := [lanes for lanes in self._waiting.values() if self._may_go(lanes)]:
            lanes = min(ready, key=lambda lanes: lanes[0].arrived)
            device = self._free(lanes[0].job.model)
            assert device is not None
            yield lanes.popleft(), device

    def _may_go(self, lanes: deque[Lane]) -> bool:
        return bool(lanes) and self._free(lanes[0].job.model) is not None


class Window(_Rival):
    """Static batches: what came within the window and is equal in shape and steps runs together.

    A batch runs to its end before the device takes another.
    """

    def __init__(self, window_s: float = 0.05) -> None:
        self.window_s = window_s
        self._groups: dict[tuple[str, int, int], deque[Lane]] = {}

    def add(self, lane: Lane) -> None:
        shape = lane.kind.shape
        key = (shape.model, shape.size, lane.kind.steps)
        self._groups.setdefault(key, deque()).append(lane)

    def assign(self, now: float) -> Assigned:
        """Batches that are full or have waited for the window, the oldest first."""
        while ready := [group for group in self._groups.values() if self._may_go(group, now)]:
            group = min(ready, key=lambda group: group[0].arrived)
            device = self._free(group[0].job.model)
            assert device is not None
            for _ in range(min(len(group), _full(group))):
                yield group.popleft(), device

    def _may_go(self, group: deque[Lane], now: float) -> bool:
        if not group or self._free(group[0].job.model) is None:
            return False
        return len(group) >= _full(group) or now >= group[0].arrived + self.window_s


def _full(group: deque[Lane]) -> int:
    return MOST_ROWS // group[0].kind.shape.rows


class Continuous(_Rival):
    """Plain continuous batching: everyone joins at the next step, until the device is full."""

    LOADING = 8
    """A device that would have to load counts as if it had so many jobs more."""

    def __init__(self) -> None:
        self._waiting = deque[Lane]()

    def add(self, lane: Lane) -> None:
        self._waiting.append(lane)

    def assign(self, now: float) -> Assigned:
        """In the order of arrival, to the device with the fewest jobs."""
        while self._waiting:
            lane = self._waiting[0]
            device = self._idle.first(lane.job.model) or self._emptiest(lane)
            if device is None:
                return
            yield self._waiting.popleft(), device

    def _emptiest(self, lane: Lane) -> Device | None:
        model, most = lane.job.model, MOST_ROWS // lane.kind.shape.rows
        room = [device for device in self._devices if len(device.tickets) < most]
        return min(
            room,
            key=lambda device: len(device.tickets) + self.LOADING * (not device.has(model)),
            default=None,
        )


WAYS: dict[str, Callable[[], Way]] = {
    "FIFO": Fifo,
    "static": Window,
    "continuous": Continuous,
    "ours": Ours,
}
