"""Who goes next, with a number for a clock and times that are told."""

import subprocess
import sys
from dataclasses import dataclass

from pipelines.joins import Stage
from pipelines.policy import Policy


@dataclass(frozen=True)
class Parked:
    name: str
    key: str = "k"
    rows: int = 1
    steps_left: int = 10
    arrived: float = 0.0
    stage: Stage = Stage.DENOISE


def taught(seconds: dict[int, float], **settings: float) -> Policy:
    policy = Policy(**settings)
    for rows, time in seconds.items():
        policy.observe("k", rows, time)
        policy.observe("other", rows, time)
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
    for now, first in ((300.0, "new"), (400.0, "old")):
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
    assert len(policy.choose(waiting, 0.0)) == 7  # by the line between the times of 4 and 8 rows


def test_only_calls_that_fit_together_share_a_pass() -> None:
    waiting = [Parked("a"), Parked("b", key="other"), Parked("c")]
    assert names(taught(FLAT).choose(waiting, 0.0)) == ["a", "c"]


def test_rows_are_bounded_but_a_large_call_still_runs() -> None:
    policy = taught(FLAT, max_rows=4)
    assert len(policy.choose([Parked(str(n), rows=2) for n in range(5)], 0.0)) == 2
    assert len(policy.choose([Parked("large", rows=9)], 0.0)) == 1


def test_untried_company_is_tried_by_doubling() -> None:
    policy = Policy()
    waiting = [Parked(str(n)) for n in range(16)]
    sizes = []
    for _ in range(5):
        chosen = policy.choose(waiting, 0.0)
        sizes.append(len(chosen))
        policy.observe("k", len(chosen), 1.0)
    assert sizes == [2, 4, 8, 16, 16]


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
    policy.observe("k", 2, 60.0)  # kernels are compiled, memory is allocated
    for _ in range(3):
        policy.observe("k", 2, 1.0)
    assert len(policy.choose([Parked("a"), Parked("b")], 0.0)) == 2


def test_what_is_kept_is_bounded() -> None:
    policy = Policy()
    for key in range(10_000):
        policy.observe(key, 1, 1.0)
    assert len(policy._curves) <= 4096


def test_it_is_pure() -> None:
    """A simulation of a thousand devices cannot wait for torch."""
    code = "import sys, pipelines.policy; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
