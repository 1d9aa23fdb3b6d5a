"""Who goes where, with a number for a clock and devices that are only numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pipelines.core import Job
from server.fleet.dispatch import LANES, Dispatch, Load
from server.fleet.queue import Queue
from tests.server.fleet.test_queue import JOB, Waiting


@dataclass
class Device:
    name: str
    resident: Sequence[str] = ("m",)
    open: bool = True
    tickets: dict[str, Waiting] = field(default_factory=dict)
    load: Load = field(default_factory=Load)
    too_large: Sequence[str] = ()
    disabled: bool = False

    def suits(self, model: str) -> bool:
        return model not in self.too_large and not self.disabled

    def may_suit_later(self, model: str) -> bool:
        return self.disabled and model not in self.too_large


def job(id: str, model: str = "m") -> Job:
    return replace(JOB, id=id, model=model)


def assign(devices: list[Device], *waiting: Waiting, load_s: float = 5.0) -> list[tuple[str, str]]:
    queue = Queue[Waiting]()
    for one in waiting:
        queue.add(one)
    given = []
    for ticket, device in Dispatch[Waiting, Device](queue, lambda _: load_s).assignments(
        devices, 0
    ):
        device.tickets[ticket.name] = ticket
        device.load.given(ticket.work_s, 0)
        given.append((ticket.name, device.name))
    return given


def test_where_it_is_finished_soonest() -> None:
    busy, idle = Device("busy"), Device("idle")
    busy.load.given(3.0, 0)
    assert assign([busy, idle], Waiting("a")) == [("a", "idle")]


def test_loading_counts() -> None:
    for busy_s, chosen in ((3.0, "busy"), (9.0, "empty")):
        busy, empty = Device("busy"), Device("empty", resident=())
        busy.load.given(busy_s, 0)
        assert assign([busy, empty], Waiting("a"), load_s=5.0) == [("a", chosen)]


def test_work_is_spread() -> None:
    devices = [Device("x"), Device("y")]
    given = assign(devices, *(Waiting(str(n)) for n in range(4)))
    assert [device for _, device in given] == ["x", "y", "x", "y"]


def test_no_device_no_job() -> None:
    assert assign([Device("x", open=False)], Waiting("a")) == []


def full(work_s: float) -> Device:
    tickets = {str(n): Waiting(str(n), work_s=work_s) for n in range(LANES)}
    return Device("full", tickets=tickets)


def test_what_a_device_has_no_room_for_goes_elsewhere_or_waits() -> None:
    small, large = Device("small", too_large=["m"]), Device("large", resident=())
    large.load.given(100.0, 0)
    assert assign([small, large], Waiting("a")) == [("a", "large")]
    large.open = False
    assert assign([small, large], Waiting("a")) == []
    assert assign([small], Waiting("a")) == [("a", "small")]  # which says that it cannot


def test_waits_for_a_disabled_device_that_alone_may_make_it() -> None:
    small, large = Device("small", too_large=["m"]), Device("large", disabled=True)
    assert assign([small, large], Waiting("a")) == []
    large.too_large = ["m"]
    assert assign([small, large], Waiting("a")) == [("a", "small")]


def test_what_waits_for_one_device_holds_up_nothing_for_the_others() -> None:
    small, large = Device("small", too_large=["m"]), full(0.1)
    others = [Waiting("other", job=job("2", "n"), work_s=2.0)]
    assert assign([small, large], Waiting("a"), *others) == [("other", "small")]


def test_a_full_device_takes_what_is_more_urgent_only() -> None:
    assert assign([full(5.0)], Waiting("short", work_s=1.0)) == [("short", "full")]
    assert assign([full(5.0)], Waiting("long", work_s=9.0)) == []


def test_another_caller_finds_room_on_a_device_full_of_ones() -> None:
    crowd = full(1.0)
    for waiting in crowd.tickets.values():
        waiting.caller = "crowd"
    assert assign([crowd], Waiting("b", caller="b", work_s=1.0)) == [("b", "full")]


def test_even_urgent_jobs_have_an_end() -> None:
    many = [Waiting(f"new{n}", work_s=1.0) for n in range(3 * LANES)]
    assert len(assign([full(5.0)], *many)) == LANES


def test_the_load_of_a_device() -> None:
    load = Load()
    load.given(4.0, now=10.0)
    load.given(2.0, now=11.0)
    assert load.left(11.0) == 5.0
    load.settled(predicted=4.0, actual=1.0, now=11.0, idle=False)
    assert load.left(11.0) == 2.0
    load.settled(predicted=2.0, actual=1.0, now=11.5, idle=True)
    assert load.left(11.5) == 0.0
