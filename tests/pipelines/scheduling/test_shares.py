"""The order between callers, with a number for a clock."""

from dataclasses import dataclass

import pytest

from pipelines.scheduling.shares import PROMOTED_AFTER_S, Shares


@dataclass(frozen=True)
class Waiting:
    caller: str
    work: float = 1.0
    arrived: float = 0.0
    weight: float = 1.0
    priority: str = "normal"


def order(shares: Shares, *waiting: Waiting, now: float = 0.0) -> list[str]:
    return [one.caller for one in shares.order(waiting, lambda one: one.work, now)]


def test_callers_take_turns_however_many_each_has() -> None:
    waiting = [Waiting("a")] * 4 + [Waiting("b")] * 2
    assert order(Shares(), *waiting) == ["a", "b", "a", "b", "a", "a"]


def test_who_had_more_comes_later() -> None:
    shares = Shares()
    order(shares, Waiting("a"), Waiting("b"))
    shares.charge("a", 1.0, 1.5)
    assert order(shares, Waiting("a"), Waiting("b"), Waiting("b")) == ["b", "b", "a"]


def test_nobody_saves_up_while_away() -> None:
    shares = Shares()
    order(shares, Waiting("a"))
    shares.charge("a", 1.0, 1000.0)
    crowd = [Waiting("new")] * 3
    assert order(shares, Waiting("a"), *crowd).index("a") <= 1


def test_who_had_too_much_does_not_get_rid_of_it_by_a_pause() -> None:
    shares = Shares()
    order(shares, Waiting("a"), Waiting("b"))
    shares.charge("a", 1.0, 5.0)
    order(shares, Waiting("b"))
    assert order(shares, Waiting("a"), *[Waiting("b")] * 3) == ["b", "b", "b", "a"]


def test_what_is_kept_of_callers_is_bounded() -> None:
    shares = Shares()
    for n in range(1000):
        order(shares, Waiting(f"{n}"), Waiting("always"))
        shares.charge(f"{n}", 1.0, 0.5)
        shares.charge("always", 1.0, 1.0)
    assert len(shares._had) < 10


def test_long_work_does_not_starve_among_callers_that_come_again_and_again() -> None:
    shares = Shares()
    for turn in range(3000):
        first = order(shares, Waiting("long", work=100.0), Waiting(f"{turn % 20}"))[0]
        if first == "long":
            break
        shares.charge(first, 1.0, 1.0)
    assert first == "long"


@pytest.mark.parametrize(("priority", "within_s"), [("normal", 600), ("low", 1200)])
def test_priority_starves_nobody_for_longer_than_that(priority: str, within_s: float) -> None:
    """Though there is always something urgent, of whoever else."""
    shares = Shares()
    for now in range(3000):
        urgent = [Waiting(f"{n}", arrived=now - 5, priority="high") for n in range(3)]
        first = order(shares, Waiting("old", priority=priority), *urgent, now=now)[0]
        if first == "old":
            break
        shares.charge(first, 1.0, 1.0)
    assert within_s <= now <= within_s + 10


def test_who_has_waited_for_long_gains_nothing_on_equals() -> None:
    shares = Shares()
    long = Waiting("long", work=9.0, arrived=-PROMOTED_AFTER_S)
    assert order(shares, long, Waiting("short")) == ["short", "long"]
    urgent = Waiting("urgent", work=99.0, priority="high")
    assert order(shares, long, Waiting("short"), urgent) == ["long", "urgent", "short"]


def test_the_clock_does_not_run_away_when_all_have_left() -> None:
    shares = Shares()
    for caller, weight in (("a", 0.1), ("b", 0.2), ("c", 0.3)):
        order(shares, Waiting(caller, weight=weight))
        shares.charge(caller, weight, 1.0)
    order(shares)
    for _ in range(100):
        shares.charge("a", 0.1, 1.0)
    assert shares._clock <= 103 / 0.1
