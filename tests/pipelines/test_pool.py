"""Which models are in memory: loading beside running lanes, and who gives way to whom."""

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipelines.core import ModelUnavailable
from pipelines.footprints import Parts
from pipelines.pool import Pool, Tell
from pipelines.room import Room

SIZES = {"a": 40, "b": 40, "c": 40, "huge": 101}


@dataclass
class Loaded:
    """A model of a few bytes that are all its own."""

    name: str
    parts: Parts = field(default_factory=dict)


class Pools:
    """Pools whose loads end when a test says so."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.given_up: list[list[str]] = []
        self.may_end, self.changed = threading.Event(), threading.Event()
        self.may_end.set()
        self.truth = dict(SIZES)

    def load(self, model: str, given_up: list[Loaded], tell: Tell) -> Loaded:
        self.loads.append(model)
        self.given_up.append([each.name for each in given_up])
        tell(0.001)
        tell(0.5)
        self.may_end.wait(5)
        return Loaded(model, {model: self.truth[model]})

    def pool(self, load: Callable[..., Loaded] | None = None) -> Pool[Loaded]:
        footprint = lambda model: {model: SIZES[model]}  # noqa: E731
        return Pool(load or self.load, self.changed.set, Room(100), footprint)

    def until(self, pool: Pool[Loaded], model: str, busy: Collection[str] = ()) -> Loaded:
        """As the engine does it, step by step."""
        for _ in range(500):
            pool.land()
            if (found := pool.get(model)) is not None:
                return found
            pool.make_way(busy)
            self.changed.wait(0.01)
            self.changed.clear()
        raise AssertionError(f"{model} was never loaded")


@pytest.fixture
def pools() -> Pools:
    return Pools()


def test_loading_runs_beside_and_once(pools: Pools) -> None:
    pool = pools.pool()
    pools.may_end.clear()
    for _ in range(2):
        assert pool.get("a") is None
        pool.make_way(())
    assert pools.changed.wait(5)
    while pool.loading != {"a": 0.5}:
        pass
    assert pool.resident == []
    pools.may_end.set()
    assert pools.until(pool, "a").name == "a"
    assert (pool.loading, pool.resident, pools.loads) == ({}, ["a"], ["a"])


def test_a_failure_is_told_to_all_who_wait_and_the_next_call_tries_again(
    pools: Pools, tmp_path: Path
) -> None:
    file = tmp_path / "weights"

    def load(model: str, given_up: list[Loaded], tell: Tell) -> Loaded:
        return Loaded(file.read_text())

    pool = pools.pool(load)
    for _ in range(2):
        with pytest.raises(ModelUnavailable, match="'a' could not be loaded: .*No such file"):
            pools.until(pool, "a")
        with pytest.raises(ModelUnavailable):
            pool.get("a")
    assert pool.resident == []
    file.write_text("here now")
    assert pools.until(pool, "a").name == "here now"


def test_the_order_of_eviction(pools: Pools) -> None:
    pool = pools.pool()
    for model in "aba":
        pools.until(pool, model)
    assert pools.loads == ["a", "b"]
    pools.until(pool, "c")
    assert (pools.given_up, pool.resident, pool.evictions) == ([[], [], ["b"]], ["a", "c"], 1)
    pools.until(pool, "b")
    assert (pools.given_up[-1], pool.resident) == (["a"], ["c", "b"])


def test_what_has_lanes_stays_and_gets_no_new_ones_while_another_waits(pools: Pools) -> None:
    pool = pools.pool()
    for model in "ab":
        pools.until(pool, model)
    assert pool.get("c") is None
    pool.make_way({"a", "b"})
    assert (pool.resident, pool.loading) == (["a", "b"], {})
    assert pool.get("a") is None, "its lanes must end some day"
    assert pool.get("b") is not None, "it is in nobody's way"
    pool.make_way({"b"})
    assert "c" in pool.loading
    pools.until(pool, "c", busy={"b"})
    assert pool.resident == ["b", "c"]
    pool.make_way({"b", "c"})
    assert pool.resident == ["b", "c"], "a waits in its turn"
    pools.until(pool, "a", busy={"c"})
    assert pool.resident == ["c", "a"]


def test_models_are_loaded_in_the_order_in_which_they_were_asked_for(pools: Pools) -> None:
    pool = pools.pool()
    for model in "cba":
        pool.get(model)
    for model in "cba":
        pools.until(pool, model)
    assert pools.loads == ["c", "b", "a"]


def test_a_model_that_cannot_fit_alone_is_refused_and_nothing_gives_way(pools: Pools) -> None:
    pool = pools.pool()
    pools.until(pool, "a")
    with pytest.raises(ModelUnavailable, match="'huge' needs 1.01e-07 GB, and there are 1e-07 GB"):
        pool.get("huge")
    pool.make_way(())
    assert (pool.resident, pools.loads) == (["a"], ["a"])
    assert pool.fits("a", "b") and not pool.fits("a", "b", "c") and not pool.fits("huge")


def test_what_was_measured_counts_more_than_what_was_predicted(pools: Pools) -> None:
    pool = pools.pool()
    pools.truth |= {"b": 70, "c": 101}
    pools.until(pool, "a")
    pools.until(pool, "b")
    pool.make_way(())
    assert (pool.resident, pool.used) == (["b"], 70)
    for _ in range(2):
        with pytest.raises(ModelUnavailable, match="'c' needs"):
            pools.until(pool, "c")
    assert pools.loads == ["a", "b", "c"], "it is not read again to be thrown away"


def test_out_of_memory_gives_up_all_that_is_idle(pools: Pools) -> None:
    pool = pools.pool()
    for model in "ab":
        pools.until(pool, model)
    assert pool.evict(keep={"b"}) == ["a"]
    assert (pool.resident, pool.used, pool.evictions) == (["b"], 40, 1)
    assert pool.evict(keep={"b"}) == []
