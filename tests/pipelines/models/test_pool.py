"""Which models are in memory: loading beside running lanes, and who gives way to whom."""

import threading
import weakref
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipelines.core import ModelUnavailable
from pipelines.models.footprints import Parts
from pipelines.models.pool import Pool, Tell
from pipelines.models.room import Beside, Room
from pipelines.scheduling.trouble import DeviceLost

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
        self.too_large: set[str] = set()

    def load(self, model: str, given_up: list[Loaded], tell: Tell) -> Loaded:
        self.loads.append(model)
        self.given_up.append([each.name for each in given_up])
        tell(0.001)
        tell(0.5)
        self.may_end.wait(60)
        if model in self.too_large:
            raise MemoryError
        return Loaded(model, {model: self.truth[model]})

    def pool(
        self, load: Callable[..., Loaded] | None = None, beside: Beside | None = None
    ) -> Pool[Loaded]:
        footprint = lambda model: {model: SIZES[model]}  # noqa: E731
        return Pool(load or self.load, self.changed.set, Room(100, beside), footprint)

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
    assert pools.changed.wait(60)
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


@pytest.mark.parametrize("kind", ["it cannot be read", "it is too large"])
def test_nothing_stays_behind_of_what_failed(pools: Pools, kind: str) -> None:
    seen: list[weakref.ref[Loaded]] = []

    def load(model: str, given_up: list[Loaded], tell: Tell) -> Loaded:
        loaded = Loaded(model, {model: 101})
        seen.append(weakref.ref(loaded))
        if kind == "it cannot be read":
            raise OSError
        return loaded

    pool = pools.pool(load)
    with pytest.raises(ModelUnavailable):
        pools.until(pool, "a")
    with pytest.raises(ModelUnavailable):
        pool.get("a")  # those who wait are still told
    assert seen[0]() is None, "or it would lie in memory beside what is loaded next"


def test_a_device_that_is_lost_while_loading_is_lost(pools: Pools) -> None:
    def load(model: str, given_up: list[Loaded], tell: Tell) -> Loaded:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(DeviceLost):
        pools.until(pools.pool(load), "a")


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
    assert pool.get("c") is None
    pool.make_way({"b"})
    assert "c" in pool.loading
    pools.until(pool, "c", busy={"b"})
    assert pool.resident == ["b", "c"]
    pool.make_way({"b", "c"})
    assert pool.resident == ["b", "c"], "a waits in its turn"
    pools.until(pool, "a", busy={"c"})
    assert pool.resident == ["c", "a"]


def test_what_nobody_waits_for_any_more_is_not_loaded_and_nothing_gives_way(pools: Pools) -> None:
    pool = pools.pool()
    for model in "ab":
        pools.until(pool, model)
    assert pool.get("c") is None
    pool.make_way({"a", "b"})
    assert pool.get("a") is None, "its lanes must end some day"
    pools.changed.clear()
    pool.make_way(())
    assert pools.changed.is_set(), "or who asked for a would wait for ever on an idle device"
    assert pool.get("a") is not None
    pool.make_way(())
    assert pools.loads == ["a", "b"]


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


def test_a_load_that_runs_out_of_memory_is_tried_once_more_with_all_others_gone(
    pools: Pools,
) -> None:
    """Somebody else may have taken of the device what there should be by its budget."""
    there = 40

    def load(model: str, given_up: list[Loaded], tell: Tell) -> Loaded:
        loaded = pools.load(model, given_up, tell)
        stays = sum(SIZES[it] for it in pool.resident)
        if stays + SIZES[model] > there:
            raise MemoryError
        return loaded

    pool = pools.pool(load)
    pools.until(pool, "a")
    for _ in range(3):
        pool.land()
        assert pool.get("b") is None
        pool.make_way(busy={"a"})
        pools.changed.wait(0.05)
    assert pool.resident == ["a"], "it is busy"
    assert pools.until(pool, "b").name == "b"
    assert (pools.loads, pools.given_up[-1]) == (["a", "b", "b"], ["a"])
    assert (pool.resident, pool.used) == (["b"], 40)
    there = 39
    with pytest.raises(ModelUnavailable, match="'a' could not be loaded"):
        pools.until(pool, "a")
    assert pools.loads[3:] == ["a", "a"]
    there = 80
    assert pools.until(pool, "a").name == "a"
    assert pools.until(pool, "b").name == "b"
    assert pool.resident == ["a", "b"], "what was cramped once need not be again"


def test_a_model_that_is_too_large_even_alone_has_others_give_way_once(pools: Pools) -> None:
    pools.too_large = {"b"}
    pool = pools.pool()
    for _ in range(4):
        pools.until(pool, "a")
        with pytest.raises(ModelUnavailable):
            pools.until(pool, "b")
    assert pool.evictions == 1
    pools.too_large.clear()
    pools.until(pool, "a")
    assert pools.until(pool, "b").name == "b"
    assert pool.resident == ["a", "b"]


def test_what_nobody_waits_for_any_more_is_not_tried_again(pools: Pools) -> None:
    pools.too_large = {"b"}
    pool = pools.pool()
    pools.until(pool, "a")
    pool.get("b")
    pool.make_way(())
    while pool.loading:
        pool.land()
    pool.make_way(())
    pools.too_large.clear()
    pools.until(pool, "b")
    assert pool.resident == ["a", "b"] and pool.evictions == 0


def test_a_device_that_is_lost_for_want_of_memory_is_lost(pools: Pools) -> None:
    def load(model: str, given_up: list[Loaded], tell: Tell) -> Loaded:
        if model == "a":
            return pools.load(model, given_up, tell)
        try:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        except RuntimeError as error:
            raise MemoryError from error

    pool = pools.pool(load)
    pools.until(pool, "a")
    with pytest.raises(DeviceLost):
        pools.until(pool, "b")
    assert pool.resident == ["a"]


class Besides:
    """Ten bytes each of what lies beside models, the first of which are in use."""

    def __init__(self, count: int, used: int = 0) -> None:
        self.count, self.used = count, used

    @property
    def size(self) -> int:
        return 10 * self.count

    @property
    def held(self) -> int:
        return 10 * self.used

    def shrink(self, size: float) -> None:
        while self.count > self.used and self.size > size:
            self.count -= 1


def test_what_lies_beside_models_counts_and_gives_way_to_them(pools: Pools) -> None:
    beside = Besides(3)
    pool = pools.pool(beside=beside)
    pools.until(pool, "a")
    assert (pool.used, beside.size) == (40, 30)
    pools.until(pool, "b")
    assert (pool.resident, pool.used, beside.size) == (["a", "b"], 80, 20)
    assert pool.evict(keep={"b"}) == ["a"]
    assert beside.size == 0


def test_what_is_in_use_beside_models_makes_more_of_them_give_way(pools: Pools) -> None:
    beside = Besides(5, used=3)
    pool = pools.pool(beside=beside)
    pools.until(pool, "a")
    pools.until(pool, "b")
    assert (pool.resident, beside.size) == (["b"], 50)


def test_room_for_what_a_model_needs_beside_it(pools: Pools) -> None:
    beside = Besides(2, used=1)
    pool = pools.pool(beside=beside)
    for model in "ab":
        pools.until(pool, model)
    assert pool.spare("b", lambda: {}), "nothing is needed"
    assert not pool.spare("b", lambda: {"lora": 20})
    assert beside.size == 10, "what is not in use goes first"
    pool.make_way({"a", "b"})
    assert pool.get("a") is None, "its lanes must end some day"
    assert pool.get("b") is not None
    assert not pool.spare("b", lambda: {"lora": 20})
    pools.changed.clear()
    pool.make_way({"b"})
    assert pools.changed.is_set(), "or the job would wait for ever on an idle device"
    assert (pool.resident, pool.loading) == (["b"], {})
    assert pool.spare("b", lambda: {"lora": 20})
    with pytest.raises(ModelUnavailable, match="'b' with what lies beside it needs 1.01e-07 GB"):
        pool.spare("b", lambda: {"lora": 61})


def test_what_is_on_its_way_has_its_room_already(pools: Pools) -> None:
    pool = pools.pool(beside=Besides(0))
    pools.until(pool, "a")
    pools.may_end.clear()
    pool.get("b")
    pool.make_way(())
    assert pool.used == 80
    assert pool.spare("a", lambda: {"lora": 20})
    assert not pool.spare("a", lambda: {"lora": 21})
    pools.may_end.set()
    pools.until(pool, "b", busy={"a"})
    assert pool.get("b") is not None
    assert not pool.spare("a", lambda: {"lora": 21})
    pool.make_way({"a"})
    assert pool.resident == ["a"] and pool.spare("a", lambda: {"lora": 21})
