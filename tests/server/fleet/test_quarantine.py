"""Finding the job that kills workers among suspects: with a number for a clock, no process."""

import random
from dataclasses import dataclass

import pytest

from server.fleet.quarantine import (
    MAX_CRASHES,
    MAX_DEATHS,
    MAX_REST_S,
    MAX_STRAYS,
    STRAY_WINDOW_S,
    Quarantine,
    Turn,
)


@dataclass(eq=False)
class Job:
    name: str
    arrived: float = 0.0
    interactive: bool = False
    kills: float = 0.0
    """How likely it is that a worker dies that runs it."""


def jobs(number: int, first: int = 0) -> list[Job]:
    return [Job(str(n), arrived=n) for n in range(first, first + number)]


def names(group: list[Job]) -> str:
    return " ".join(job.name for job in group)


def anywhere(job: Job) -> list[str]:
    return ["a"]


def crash(quarantine: Quarantine[Job], running: list[Job], device: str = "a") -> Job | None:
    return quarantine.add_death(running, device, from_outside=False, now=0.0)


def killed(quarantine: Quarantine[Job], running: list[Job], now: float = 0.0) -> Job | None:
    return quarantine.add_death(running, "a", from_outside=True, now=now)


def clear(quarantine: Quarantine[Job], group: list[Job], made: bool = True) -> None:
    for job in group:
        quarantine.clear(job, made, 0.0)


def test_suspects_run_again_in_halves() -> None:
    quarantine = Quarantine[Job]()
    suspects = jobs(5)
    assert crash(quarantine, suspects) is None
    assert len(quarantine) == 5 and names(quarantine.waiting) == "0 1 2 3 4"
    first = quarantine.take("a", anywhere)
    assert names(first) == "0 1 2"
    assert len(quarantine) == 5 and names(quarantine.waiting) == "3 4"
    assert names(quarantine.take("a", anywhere)) == "3 4"
    assert quarantine.take("a", anywhere) == []
    assert crash(quarantine, first) is None
    assert names(quarantine.take("a", anywhere)) == "0 1"
    assert names(quarantine.take("a", anywhere)) == "2"


@pytest.mark.parametrize(("die", "most"), [(crash, MAX_CRASHES), (killed, MAX_DEATHS)])
def test_only_a_job_that_dies_alone_again_and_again_is_guilty(die, most: int) -> None:
    quarantine = Quarantine[Job]()
    pair = jobs(2)
    for _ in range(20):
        assert die(quarantine, pair) is None, "two that run together never are"
        quarantine.take("a", anywhere)
        quarantine.take("a", anywhere)
    poison, other = pair
    for _ in range(most - 1):
        assert die(quarantine, [poison]) is None
        assert quarantine.take("a", anywhere) == [poison]
    assert die(quarantine, [poison]) is poison
    assert poison not in quarantine and other in quarantine


def test_a_crash_among_kills_asks_for_as_many_deaths_as_kills() -> None:
    quarantine = Quarantine[Job]()
    (job,) = jobs(1)
    assert killed(quarantine, [job]) is None
    assert crash(quarantine, [job]) is None
    assert killed(quarantine, [job]) is job


def test_jobs_that_nobody_waits_for_are_suspects_too() -> None:
    """A cancelled job that was running beside it may have done it."""
    quarantine = Quarantine[Job]()
    (job,) = jobs(1)
    for _ in range(5):
        assert quarantine.add_death([job], "a", False, 0.0, others=1) is None
    assert crash(quarantine, [job]) is None
    assert crash(quarantine, [job]) is job


def test_who_leaves_waits_no_longer() -> None:
    quarantine = Quarantine[Job]()
    suspects = jobs(2)
    crash(quarantine, suspects)
    clear(quarantine, suspects[:1], made=False)
    assert suspects[0] not in quarantine
    assert quarantine.take("a", anywhere) == suspects[1:]
    clear(quarantine, suspects)
    assert len(quarantine) == 0 and not quarantine.waits_for("a", anywhere)


def test_watched_jobs_go_first_and_together() -> None:
    quarantine = Quarantine[Job]()
    crash(quarantine, jobs(4))
    watched = [Job("w", arrived=9.0, interactive=True)]
    crash(quarantine, [*jobs(2, first=4), *watched])
    assert names(quarantine.take("a", anywhere)) == "w 4"
    assert names(quarantine.take("a", anywhere)) == "0 1"


def test_what_had_not_begun_waits_again_with_the_rest_of_its_group() -> None:
    quarantine = Quarantine[Job]()
    suspects = jobs(8)
    crash(quarantine, suspects)
    group = quarantine.take("a", anywhere)
    quarantine.put_back(group[2:])
    assert crash(quarantine, group[:2]) is None
    found = [names(quarantine.take("a", anywhere)) for _ in range(4)]
    assert found == ["4 5 6 7", "2 3", "0", "1"]


def test_a_group_goes_only_where_its_models_fit() -> None:
    quarantine = Quarantine[Job]()
    crash(quarantine, jobs(2), "large")
    assert quarantine.take("small", lambda job: ["large"]) == []
    assert not quarantine.waits_for("small", lambda job: ["large"])
    where = {"0": ["small", "large"], "1": ["large"]}
    assert names(quarantine.take("large", lambda job: where[job.name])) == "0"
    assert names(quarantine.take("large", lambda job: where[job.name])) == "1"


def test_a_broken_device_makes_no_job_guilty_where_there_is_another_one() -> None:
    quarantine = Quarantine[Job]()
    (job,) = jobs(1)
    crash(quarantine, [job], "broken")
    both = lambda job: ["broken", "good"]  # noqa: E731
    assert quarantine.take("broken", both) == []
    assert quarantine.take("good", both) == [job]
    crash(quarantine, [job], "broken")


def test_where_it_died_on_every_device_it_may_run_on_any() -> None:
    quarantine = Quarantine[Job]()
    (job,) = jobs(1)
    quarantine.add_death([job], "a", from_outside=True, now=0.0)
    assert quarantine.take("a", lambda job: ["a", "b"]) == []
    quarantine.add_death([job], "b", from_outside=True, now=0.0)
    assert quarantine.take("a", lambda job: ["a", "b"]) == [job]


def test_deaths_that_no_job_explains_ask_for_more_evidence() -> None:
    """On a box where something else kills workers, three deaths alone say little."""
    quarantine = Quarantine[Job]()
    for _ in range(2):
        suspects = jobs(3)
        killed(quarantine, suspects)
        clear(quarantine, suspects)
    killed(quarantine, [])  # nothing was running at all
    (job,) = jobs(1)
    deaths = 1
    while killed(quarantine, [job]) is None:
        deaths += 1
    assert deaths == MAX_DEATHS + 3


def test_old_deaths_say_nothing_and_not_too_many_are_asked_for() -> None:
    for now, more in ((STRAY_WINDOW_S - 1, MAX_STRAYS), (STRAY_WINDOW_S + 1, 0)):
        quarantine = Quarantine[Job]()
        for _ in range(3 * MAX_STRAYS):
            killed(quarantine, [])
        (job,) = jobs(1)
        deaths = 1
        while killed(quarantine, [job], now) is None:
            deaths += 1
        assert deaths == MAX_DEATHS + more


def test_a_death_with_a_guilty_job_or_with_one_that_left_counts_as_explained() -> None:
    quarantine = Quarantine[Job]()
    poison, *others = jobs(4)
    gone = others.pop()
    killed(quarantine, [poison, *others])
    killed(quarantine, [gone, *others])
    clear(quarantine, [gone], made=False)
    clear(quarantine, others)
    assert [killed(quarantine, [poison]) for _ in range(3)] == [None, None, poison]
    (job,) = jobs(1)
    assert [killed(quarantine, [job]) for _ in range(3)] == [None, None, job]


@pytest.mark.parametrize("seed", range(40))
def test_in_any_crowd_only_the_guilty_are_found(seed: int) -> None:
    """Each run of a group ends in a death if a guilty job is in it, or by chance from outside."""
    rng = random.Random(seed)
    quarantine = Quarantine[Job]()
    crowd = jobs(rng.randrange(1, 64))
    poison = set(rng.sample(crowd, min(len(crowd), rng.choice([0, 1, 1, 2, 3]))))
    for job in poison:
        job.kills = 1.0
    chance = rng.choice([0.0, 0.1])
    found, made, deaths = set[Job](), set[Job](), 1
    killed(quarantine, crowd)
    while quarantine.waits_for("a", anywhere):
        group = quarantine.take("a", anywhere)
        died = not poison.isdisjoint(group)
        if died or rng.random() < chance:
            deaths += 1
            guilty = quarantine.add_death(group, "a", from_outside=True, now=float(deaths))
            found |= {guilty} if guilty else set()
            continue
        clear(quarantine, group)
        made |= set(group)
    assert found == poison
    assert made == set(crowd) - poison
    if not chance:
        halvings = 7
        assert deaths <= 1 + len(poison) * (halvings + MAX_DEATHS)


def test_a_device_is_others_for_as_long_as_suspects_had_it() -> None:
    turn = Turn()
    assert turn.has_rested(0.0)
    turn.reserve(10.0)
    turn.reserve(12.0)
    turn.run()
    assert turn.reserved and turn.running
    turn.release(15.0)
    assert not turn.reserved and not turn.running
    assert not turn.has_rested(19.9) and turn.has_rested(20.0)
    turn.reserve(20.0)
    turn.release(20.0 + 10 * MAX_REST_S)
    assert turn.has_rested(20.0 + 11 * MAX_REST_S)
