"""Which of many simulated devices have nothing to do, without looking at all of them."""

from collections.abc import Iterator, Sequence
from heapq import heappop, heappush

from bench.simulation.device import Device
from bench.simulation.lanes import Lane

Assigned = Iterator[tuple[Lane, Device]]


class Idle:
    """The devices with nothing to do, the first of them at hand: all, or those with a model."""

    def __init__(self, devices: Sequence[Device]) -> None:
        self._devices = devices
        self._heaps: dict[str | None, list[int]] = {None: []}
        self._listed: set[tuple[str | None, int]] = set()
        for device in devices:
            self.add(device)

    def add(self, device: Device) -> None:
        """It has nothing to do any more. Nobody says when it has: that is seen when asked."""
        for model in (None, *device.resident):
            if (model, device.index) not in self._listed:
                self._listed.add((model, device.index))
                heappush(self._heaps.setdefault(model, []), device.index)

    def first(self, model: str | None = None) -> Device | None:
        """None if every one is busy, or has not the model."""
        heap = self._heaps.get(model, [])
        while heap:
            device = self._devices[heap[0]]
            if not device.tickets and (model is None or device.has(model)):
                return device
            self._listed.remove((model, heappop(heap)))
        return None
