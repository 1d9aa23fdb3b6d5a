"""One simulation: requests come, a way assigns them, devices run them, the latencies are kept."""

from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from bench.simulation.arrivals import Arrival
from bench.simulation.clock import Clock
from bench.simulation.device import Device
from bench.simulation.lanes import Lane
from bench.simulation.ways import Way
from pipelines.core import Job


@dataclass(frozen=True, slots=True)
class Figures:
    """Latencies in seconds, of one kind of request."""

    images: int
    mean: float
    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, latencies: Sequence[float]) -> "Figures":
        """Of at least one."""
        values = np.asarray(latencies)
        p50, p95, p99 = np.percentile(values, (50, 95, 99))
        return cls(len(values), float(values.mean()), float(p50), float(p95), float(p99))


class Result:
    """What became of the requests under one way."""

    def __init__(self) -> None:
        self.latencies: dict[str, array[float]] = defaultdict(lambda: array("d"))
        """By kind of request, in the order in which images were finished."""
        self.busy = 0.0
        """The share of the devices' time in which a pass was running."""

    def figures(self) -> dict[str, Figures]:
        """By kind; and `all` of them, where there are several."""
        kinds = {kind: Figures.of(values) for kind, values in sorted(self.latencies.items())}
        if len(kinds) > 1:
            kinds["all"] = Figures.of(np.concatenate(list(self.latencies.values())))  # type: ignore[arg-type]
        return kinds


@dataclass(frozen=True, slots=True)
class Box:
    """The devices that there are: how many, and how many models each has room for."""

    devices: int = 1
    models_kept: int = 8
    resident: Sequence[Sequence[str]] = ()
    """What they begin with; taken in turn. Nothing: every model has to be loaded."""


class Simulation:
    """Put together once, run once."""

    def __init__(
        self, box: Box, way: Way, arrivals: Iterator[Arrival], stepping: bool = False
    ) -> None:
        """`stepping`: pass by pass. The same comes out, later."""
        self.clock = Clock()
        self.result = Result()
        self._way, self._arrivals = way, arrivals
        self._numbers = count()
        self._devices = [self._device(index, box, stepping) for index in range(box.devices)]
        way.own(self._devices)

    def run(self) -> Result:
        """Until the last request is answered."""
        self._expect_next()
        self.clock.run()
        total = self.clock.now * len(self._devices)
        self.result.busy = sum(device.busy_s for device in self._devices) / total if total else 0.0
        return self.result

    def _device(self, index: int, box: Box, stepping: bool) -> Device:
        resident = box.resident[index % len(box.resident)] if box.resident else ()
        policy = self._way.policy()
        device = Device(index, self.clock, policy, resident, box.models_kept, stepping)
        device.done, device.loaded = self._done, self._way.loaded
        return device

    def _expect_next(self) -> None:
        arrival = next(self._arrivals, None)
        if arrival is not None:
            self.clock.at(arrival.at, lambda: self._arrive(arrival))

    def _arrive(self, arrival: Arrival) -> None:
        for _ in range(arrival.kind.images):
            job = _job(str(next(self._numbers)), arrival)
            lane = Lane(job, arrival.kind, arrival.at, self._way.work_s(job))
            self._way.add(lane)
        if self._way.window_s:
            self.clock.at(arrival.at + self._way.window_s, self._assign)
        self._assign()
        self._expect_next()

    def _assign(self) -> None:
        given = {}
        for lane, device in self._way.assign(self.clock.now):
            device.give(lane)
            given[device.index] = device
        for device in given.values():
            device.go()

    def _done(self, lanes: list[Lane], device: Device) -> None:
        for lane in lanes:
            self.result.latencies[lane.kind.name].append(self.clock.now - lane.arrived)
            self._way.ended(lane, device, self.clock.now)
        self._assign()


def _job(id: str, arrival: Arrival) -> Job:
    shape = arrival.kind.shape
    return Job(
        id=id, model=shape.model, prompt="", width=shape.size, height=shape.size, seed=0,
        steps=arrival.kind.steps, guidance_scale=0.0, caller=arrival.caller,
    )  # fmt: skip
