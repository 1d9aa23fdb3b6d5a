"""The order of what waits, with a number for a clock."""

from dataclasses import dataclass

from pipelines.core import Job
from server.fleet.queue import Queue

JOB = Job(
    id="1", model="m", prompt="a fox", width=64, height=64, seed=1, steps=4, guidance_scale=2.0
)


@dataclass(eq=False)
class Waiting:
    name: str
    caller: str = ""
    work_s: float = 1.0
    arrived: float = 0.0
    weight: float = 1.0
    priority: str = "normal"
    job: Job = JOB


def queue_of(*waiting: Waiting) -> Queue[Waiting]:
    queue = Queue[Waiting]()
    for one in waiting:
        queue.add(one)
    return queue


def names(queue: Queue[Waiting], now: float = 0.0) -> list[str]:
    return [one.name for one in queue.ordered(now)]


def test_the_least_work_comes_first_and_equals_in_their_order() -> None:
    queue = queue_of(Waiting("long", work_s=9.0), Waiting("a"), Waiting("b"))
    assert names(queue) == ["a", "b", "long"]


def test_callers_take_turns() -> None:
    queue = queue_of(*(Waiting(f"a{n}", caller="a") for n in range(3)), Waiting("b", caller="b"))
    assert names(queue) == ["a0", "b", "a1", "a2"]


def test_who_is_charged_comes_later() -> None:
    queue = queue_of(Waiting("a", caller=""), Waiting("b", caller="b"))
    names(queue)
    queue.charge(JOB, 10.0)
    assert names(queue) == ["b", "a"]


def test_what_is_removed_is_gone() -> None:
    one, other = Waiting("one"), Waiting("other")
    queue = queue_of(one, other)
    queue.remove(one)
    assert one not in queue
    assert other in queue
    assert (len(queue), list(queue)) == (1, [other])


def test_how_many_are_ahead() -> None:
    queue = queue_of()
    others = [Waiting(str(n), work_s=float(n)) for n in range(5)]
    assert queue.ahead_of(Waiting("new", work_s=2.5), others, now=0.0) == 3
