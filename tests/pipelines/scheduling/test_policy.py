"""Who goes next, with a number for a clock and times that are told."""

import subprocess
import sys
from dataclasses import dataclass, replace

import pytest

from pipelines.lanes.joins import Stage
from pipelines.scheduling.policy import Policy
from pipelines.scheduling.shares import PROMOTED_AFTER_S


@dataclass(frozen=True)
class Parked:
    name: str
    key: str = "k"
    rows: int = 1
    steps_left: int = 10
    arrived: float = 0.0
    stage: Stage = Stage.DENOISE
    caller: str = ""
    weight: float = 1.0
    priority: str = "normal"
    awaited: bool = False
    alone: bool = False


def taught(seconds: dict[int, float], **settings: float) -> Policy:
    policy = Policy(**settings)
    for rows, time in seconds.items():
        policy.curves["k"].observe(rows, time)
        policy.curves["other"].observe(rows, time)
    return policy


FLAT = {1: 1.0, 2: 1.0, 4: 1.0, 8: 1.1, 16: 1.2}
PROPORTIONAL = {1: 1.0, 2: 2.0, 4: 4.0, 8: 8.0}


def names(chosen: list[Parked]) -> list[str]:
    return [parked.name for parked in chosen]


def test_nothing_waits() -> None:
    assert Policy().choose([], 0.0) == []


def test_the_least_remaining_work_goes_first() -> None:
    waiting = [Parked("long", steps_left=40), Parked("short", key="other", steps_left=4)]
    assert names(taught(PROPORTIONAL).choose(waiting, 0.0)) == ["short"]


def test_what_has_waited_long_enough_goes_before_less_work() -> None:
    policy = taught(PROPORTIONAL)
    for now, first in ((700.0, "new"), (800.0, "old")):
        new = Parked("new", key="other", steps_left=4, arrived=now)
        assert names(policy.choose([Parked("old", steps_left=40), new], now)) == [first]


def test_company_where_a_pass_takes_as_long_with_it() -> None:
    waiting = [Parked(str(n), steps_left=n) for n in range(1, 17)]
    assert len(taught(FLAT).choose(waiting, 0.0)) == 16


def test_no_company_where_a_pass_takes_as_much_longer() -> None:
    waiting = [Parked(str(n), steps_left=n) for n in range(1, 17)]
    assert names(taught(PROPORTIONAL).choose(waiting, 0.0)) == ["1"]


def test_company_up_to_where_it_stops_helping() -> None:
    policy = taught({1: 1.0, 2: 1.1, 4: 1.2, 8: 8.0})
    waiting = [Parked(str(n), steps_left=n) for n in range(1, 9)]
    assert len(policy.choose(waiting, 0.0)) == 4


def test_a_little_gain_is_worth_it_only_when_many_wait() -> None:
    """Each further row delays the pass by 0.9 s, and saves 0.1 s for those who stay behind."""
    policy = taught({1: 1.0, 16: 14.5})
    for parked, together in ((5, 1), (16, 2), (64, 7)):
        waiting = [Parked(str(n), steps_left=n + 1) for n in range(parked)]
        assert len(policy.choose(waiting, 0.0)) == pytest.approx(together, abs=1)


def test_only_calls_that_fit_together_share_a_pass() -> None:
    waiting = [Parked("a"), Parked("b", key="other"), Parked("c")]
    assert names(taught(FLAT).choose(waiting, 0.0)) == ["a", "c"]


def test_rows_are_bounded_but_a_large_call_still_runs() -> None:
    policy = taught(FLAT, most_rows=4)
    assert len(policy.choose([Parked(str(n), rows=2) for n in range(5)], 0.0)) == 2
    assert len(policy.choose([Parked("large", rows=9)], 0.0)) == 1


def test_untried_company_is_tried_by_doubling() -> None:
    policy = Policy()
    waiting = [Parked(str(n)) for n in range(16)]
    sizes = []
    for _ in range(5):
        chosen = policy.choose(waiting, 0.0)
        sizes.append(len(chosen))
        policy.ran(chosen, 1.0)
    assert sizes == [1, 2, 4, 8, 16]


def test_ending_a_job_comes_before_beginning_one_before_steps() -> None:
    waiting = [
        Parked("step", steps_left=1),
        Parked("begin", stage=Stage.ENCODE, key="e"),
        Parked("end", stage=Stage.DECODE, key="d"),
    ]
    policy = taught(FLAT)
    order = []
    while waiting:
        chosen = policy.choose(waiting, 0.0)
        order += names(chosen)
        waiting = [parked for parked in waiting if parked not in chosen]
    assert order == ["end", "begin", "step"]


def test_a_slow_first_pass_is_forgotten() -> None:
    policy = taught({1: 1.0})
    policy.curves["k"].observe(2, 60.0)  # kernels are compiled, memory is allocated
    for _ in range(8):
        policy.curves["k"].observe(2, 1.0)
    assert len(policy.choose([Parked("a"), Parked("b")], 0.0)) == 2


def test_what_does_not_fit_is_not_tried_again() -> None:
    policy = taught(FLAT)
    waiting = [Parked(str(n)) for n in range(16)]
    policy.too_large(policy.choose(waiting, 0.0))
    assert len(policy.choose(waiting, 0.0)) == 8


def test_rows_are_bounded_by_the_memory_that_is_free() -> None:
    policy = Policy()
    waiting = [Parked(str(n)) for n in range(16)]
    for rows in (1, 2, 4, 8):
        policy.ran(waiting[:rows], 1.0, memory=100.0 * rows)
    assert len(policy.choose(waiting, 0.0, free=350.0)) == 3
    assert len(policy.choose(waiting, 0.0, free=10.0)) == 1


def test_a_call_that_may_not_be_merged_runs_alone() -> None:
    assert len(taught(FLAT).choose([Parked("a", alone=True), Parked("b", alone=True)], 0.0)) == 1


def test_who_watches_sees_a_first_step_before_others_go_on() -> None:
    waiting = [Parked("short", steps_left=4), Parked("watched", key="other", awaited=True)]
    assert names(taught(PROPORTIONAL).choose(waiting, 0.0)) == ["watched"]


def finished(policy: Policy, waiting: list[Parked], seconds: dict[int, float]) -> dict[str, float]:
    """When each job is finished, if nothing else arrives."""
    now, left, ends = 0.0, {parked.name: parked for parked in waiting}, dict[str, float]()
    while left:
        chosen = policy.choose(list(left.values()), now)
        took = seconds[len(chosen)] if len(chosen) in seconds else policy.predicted(chosen)
        now += took
        policy.ran(chosen, took)
        for parked in chosen:
            left[parked.name] = replace(parked, steps_left=parked.steps_left - 1)
            if not left[parked.name].steps_left:
                ends[parked.name] = now
                del left[parked.name]
    return ends


REAL = {1: 1.0, 2: 1.3, 4: 2.0, 8: 3.4, 16: 5.6}


@pytest.mark.parametrize("times", [REAL, PROPORTIONAL])
def test_many_jobs_of_one_caller_hardly_delay_anothers_one(times: dict[int, float]) -> None:
    crowd = [Parked(f"a{n}", caller="a", steps_left=8) for n in range(32)]
    alone = 8 * times[1]
    ends = finished(taught(times), [*crowd, Parked("b", caller="b", steps_left=8)], times)
    assert ends["b"] <= alone + 2 * max(times.values()) + alone


def test_shares_follow_weights() -> None:
    """Twice the weight, twice the work in the same time."""
    policy = taught(PROPORTIONAL)
    rich = [Parked(f"a{n}", caller="a", weight=2.0, steps_left=4) for n in range(40)]
    poor = [Parked(f"b{n}", caller="b", steps_left=4) for n in range(40)]
    ends = sorted(finished(policy, rich + poor, PROPORTIONAL).items(), key=lambda end: end[1])
    first = [name[0] for name, _ in ends[:30]]
    assert first.count("a") == pytest.approx(20, abs=2)


def test_sixteen_callers_share_passes_as_one_would() -> None:
    waiting = [Parked(str(n), caller=str(n)) for n in range(16)]
    of_one = [replace(parked, caller="") for parked in waiting]
    together = len(taught(REAL).choose(waiting, 0.0))
    assert together == len(taught(REAL).choose(of_one, 0.0)) >= 10


def test_priorities() -> None:
    waiting = [
        Parked("low", priority="low", steps_left=1),
        Parked("normal", steps_left=5),
        Parked("high", priority="high", steps_left=9),
    ]
    policy = taught(PROPORTIONAL)
    assert names(policy.choose(waiting, 0.0)) == ["high"]
    assert names(policy.choose(waiting[:2], 0.0)) == ["normal"]
    old = replace(waiting[0], arrived=-PROMOTED_AFTER_S)
    assert names(policy.choose([old, waiting[1]], 0.0)) == ["low"]
    assert names(policy.choose([old, *waiting[1:]], 0.0)) == ["high"]


def test_it_is_pure() -> None:
    """A simulation of a thousand devices cannot wait for torch."""
    code = "import sys, pipelines.scheduling.policy; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
