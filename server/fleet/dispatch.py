"""Which job goes to which device next: pure, with the time given from outside.

Knows what the queue and devices look like; not processes, messages or HTTP. A simulation drives
the same code.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from server.fleet.queue import Q, Queue

LANES = 32
"""Jobs that a device is given: enough to choose from, few enough to be lost with it. It takes
up to twice as many when they are more urgent than those it has."""


class Place(Protocol):
    """A device, as far as the choice between devices goes."""

    @property
    def open(self) -> bool: ...
    @property
    def resident(self) -> Sequence[str]: ...
    @property
    def tickets(self) -> Mapping[str, Any]: ...
    @property
    def load(self) -> "Load": ...

    def suits(self, model: str) -> bool:
        """Whether it can be expected to make images of a model, now or later."""
        ...

    def may_suit_later(self, model: str) -> bool:
        """Whether it may make images of a model once it works again: it is worth waiting for."""
        ...


class Load:
    """When a device will be done with what it was given, by prediction."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until = 0.0

    def given(self, seconds: float, now: float) -> None:
        """It was given so much more."""
        self._until = max(self._until, now) + seconds

    def settled(self, predicted: float, actual: float, now: float, idle: bool) -> None:
        """Something is done, or taken back; `idle` if that was all."""
        self._until = now if idle else self._until + actual - predicted

    def left(self, now: float) -> float:
        """The seconds until it is done with everything."""
        return max(0.0, self._until - now)


P = TypeVar("P", bound=Place)


class Dispatch(Generic[Q, P]):
    """The most urgent jobs to where they are finished soonest, while there is room."""

    def __init__(self, queue: Queue[Q], load_s: Callable[[str], float]) -> None:
        self._queue = queue
        self._load_s = load_s

    def assignments(self, devices: Sequence[P], now: float) -> Iterator[tuple[Q, P]]:
        """Takes jobs out of the queue, each with its device, until nothing more fits."""
        if not self._queue or not any(_might_take(device) for device in devices):
            return
        stuck = set[tuple[str, str]]()
        for ticket in self._queue.ordered(now):
            alike = ticket.caller, ticket.job.model
            if alike in stuck:
                continue
            device = self._soonest(ticket, devices, now)
            if device is None:
                stuck.add(alike)  # what it has behind this is less urgent
                continue
            self._queue.remove(ticket)
            yield ticket, device

    def _soonest(self, ticket: Q, devices: Sequence[P], now: float) -> P | None:
        model = ticket.job.model
        suited: Sequence[P] = [device for device in devices if device.suits(model)]
        if not suited:
            if any(device.may_suit_later(model) for device in devices):
                return None
            suited = devices  # one that says that it cannot make it is better than none
        free = [device for device in suited if self._takes(device, ticket, now)]
        load_s = self._load_s(model)

        def finished(device: P) -> tuple[float, int]:
            """A prediction that has run out tells nothing: then where there is less."""
            loading = 0.0 if model in device.resident else load_s
            return device.load.left(now) + loading, len(device.tickets)

        return min(free, key=finished, default=None)

    def _takes(self, device: P, ticket: Q, now: float) -> bool:
        if not _might_take(device):
            return False
        if len(device.tickets) < LANES:
            return True
        return self._queue.ahead_of(ticket, list(device.tickets.values()), now) < LANES


def _might_take(device: Place) -> bool:
    return device.open and len(device.tickets) < 2 * LANES
