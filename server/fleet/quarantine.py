"""Finds the job that kills workers among those that were running at a death: group testing.

Pure bookkeeping with the time given from outside. A suspect runs again on a device of its own, in
halves of the group that was running. Only a job that dies running alone, again and again, is
guilty. Knows no process, no message and no HTTP.
"""

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

MAX_CRASHES = 2
"""A job that was running alone at so many crashes of workers is guilty."""

MAX_DEATHS = 3
"""The same where some of the deaths came from outside, mostly from the kernel or an operator."""

STRAY_WINDOW_S = 600.0
MAX_STRAYS = 5
"""Each death of the last ten minutes that no job explains asks for one more death as evidence
against a job, up to this many."""

MAX_GROUP = 32
MAX_REST_S = 30.0
"""After suspects had a device, other jobs have it for as long as that took, at most this long."""


class Suspicious(Protocol):
    """What the quarantine sees of a job."""

    @property
    def arrived(self) -> float: ...
    @property
    def interactive(self) -> bool:
        """Whether someone watches it: it goes before those that nobody watches."""
        ...


S = TypeVar("S", bound=Suspicious)
DevicesFor = Callable[[S], Collection[str]]
"""The ids of the devices that may run a job, now or after a restart."""


@dataclass(slots=True)
class _Record:
    """The deaths at which a job was running alone."""

    crashes: int = 0
    from_outside: int = 0
    devices: set[str] = field(default_factory=set)


class Quarantine(Generic[S]):
    """The suspects: in groups that wait for a device of their own, or running there."""

    def __init__(self) -> None:
        self._groups: list[list[S]] = []
        self._records: dict[S, _Record] = {}
        self._unexplained: list[set[S]] = []
        """For each death: the suspects that have not been cleared since."""
        self._strays: deque[float] = deque(maxlen=MAX_STRAYS)
        """When deaths turned out to have nothing to do with the jobs that were running."""

    def __len__(self) -> int:
        """The number of suspects, waiting or running."""
        return len(self._records)

    def __contains__(self, suspect: S) -> bool:
        return suspect in self._records

    @property
    def waiting(self) -> list[S]:
        """The suspects that no device has."""
        return [suspect for group in self._groups for suspect in group]

    def add_death(
        self, running: Sequence[S], device: str, from_outside: bool, now: float, others: int = 0
    ) -> S | None:
        """Note a worker's death. The jobs that were running wait in quarantine, or one is guilty.

        `others` counts what else may have caused it: running jobs that nobody waits for any more,
        or a model that was being loaded. Returns the guilty job, which is no suspect any longer.
        """
        if not others:
            self._note_unexplained(running, now)
        for suspect in running:
            self._records.setdefault(suspect, _Record())
        if len(running) == 1 and not others:
            (suspect,) = running
            self._note_alone(self._records[suspect], device, from_outside)
            if self._is_guilty(self._records[suspect], now):
                self._drop(suspect)
                self._unexplained = [each for each in self._unexplained if suspect not in each]
                return suspect
        self._groups += _halves(running)
        return None

    def put_back(self, group: Sequence[S]) -> None:
        """Suspects of a group that had not begun when their worker died wait again, together."""
        if group:
            self._groups.append(list(group))

    def clear(self, suspect: S, made: bool, now: float) -> None:
        """A job has ended. If an image was made of it, its deaths were not its fault."""
        if suspect not in self._records:
            return
        self._drop(suspect)
        if not made:
            self._unexplained = [each for each in self._unexplained if suspect not in each]
            return
        for death in self._unexplained:
            death.discard(suspect)
        self._strays.extend(now for death in self._unexplained if not death)
        self._unexplained = [each for each in self._unexplained if each]

    def waits_for(self, device: str, devices_for: DevicesFor[S]) -> bool:
        """Whether there is a group that a device may run."""
        return bool(self._next(device, devices_for))

    def take(self, device: str, devices_for: DevicesFor[S]) -> list[S]:
        """The next suspects to run on a device, with nothing else beside them; may be empty.

        Watched jobs come first. A job that died alone on this device goes to another one if one may
        run it: so a broken device makes no job guilty.
        """
        members = self._next(device, devices_for)
        for group in self._groups:
            group[:] = [each for each in group if each not in members]
        self._groups = [group for group in self._groups if group]
        return members

    def _next(self, device: str, devices_for: DevicesFor[S]) -> list[S]:
        for group in sorted(self._groups, key=lambda it: not any(s.interactive for s in it)):
            members = [each for each in group if self._may_run(each, device, devices_for(each))]
            if members:
                return members[:MAX_GROUP]
        return []

    def _may_run(self, suspect: S, device: str, devices: Collection[str]) -> bool:
        died_on = self._records[suspect].devices
        return device in devices and (device not in died_on or died_on.issuperset(devices))

    def _note_unexplained(self, running: Sequence[S], now: float) -> None:
        if running:
            self._unexplained.append(set(running))
        else:
            self._strays.append(now)

    def _note_alone(self, record: _Record, device: str, from_outside: bool) -> None:
        record.devices.add(device)
        if from_outside:
            record.from_outside += 1
        else:
            record.crashes += 1

    def _is_guilty(self, record: _Record, now: float) -> bool:
        strays = sum(now - at <= STRAY_WINDOW_S for at in self._strays)
        needed = MAX_DEATHS if record.from_outside else MAX_CRASHES
        return record.crashes + record.from_outside >= needed + strays

    def _drop(self, suspect: S) -> None:
        del self._records[suspect]
        for group in self._groups:
            if suspect in group:
                group.remove(suspect)
        self._groups = [group for group in self._groups if group]


def _halves(running: Sequence[S]) -> list[list[S]]:
    """Watched jobs come into the same half, then in the order of their arrival."""
    ordered = sorted(running, key=lambda it: (not it.interactive, it.arrived))
    half = (len(ordered) + 1) // 2
    return [group for group in (ordered[:half], ordered[half:]) if group]


class Turn:
    """Whose turn a device is: that of suspects, which have it for themselves, or of the others."""

    def __init__(self) -> None:
        self.reserved = False
        """Kept free of other jobs, for suspects that run there or will."""
        self.running = False
        self._reserved_at = 0.0
        self._released_at = float("-inf")
        self._rest_s = 0.0

    def reserve(self, now: float) -> None:
        """Give the device no other jobs; suspects run once it has finished those that it has."""
        if not self.reserved:
            self.reserved, self._reserved_at = True, now

    def run(self) -> None:
        """The suspects run now."""
        self.running = True

    def release(self, now: float) -> None:
        """The suspects are done with the device; if its worker died, another one is up again."""
        self._rest_s = min(MAX_REST_S, now - self._reserved_at)
        self.reserved = self.running = False
        self._released_at = now

    def has_rested(self, now: float) -> bool:
        """Whether other jobs have had the device for as long as the last suspects did."""
        return now - self._released_at >= self._rest_s
