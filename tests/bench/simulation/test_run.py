"""Simulations that can be followed by hand, and what holds for all of them."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from bench.simulation.arrivals import Arrival, Bursts, Kind, arrivals
from bench.simulation.models import Line, PassTime, Shape
from bench.simulation.run import Box, Result, Simulation
from bench.simulation.ways import WAYS

SECOND = Line(0.0, 1.0)  # company brings nothing
FREE = Line(1.0, 0.0)
ENDS = Line(0.25, 0.125)


def shape(step: PassTime, model: str = "m", load_s: float = 10.0) -> Shape:
    return Shape(model, step, load_s=load_s)


def kind(name: str, step: PassTime, steps: int, **more: object) -> Kind:
    return Kind(name, shape(step), steps, **more)


def simulate(
    way: str, *asked: tuple[float, Kind], box: Box | None = None, stepping: bool = False
) -> Result:
    box = box or Box(resident=(("m",),))
    coming = iter([Arrival(at, kind, kind.callers[0]) for at, kind in asked])
    return Simulation(box, WAYS[way](), coming, stepping).run()


def latencies(result: Result) -> dict[str, list[float]]:
    return {name: pytest.approx(list(values)) for name, values in result.latencies.items()}


def test_two_jobs_one_after_the_other() -> None:
    result = simulate("FIFO", (0.0, kind("a", SECOND, 4)), (1.0, kind("b", SECOND, 2)))
    assert latencies(result) == {"a": [4.0], "b": [5.0]}
    assert result.busy == pytest.approx(1.0)


def test_the_shorter_one_does_not_wait_for_the_longer() -> None:
    result = simulate("ours", (0.0, kind("a", SECOND, 9)), (1.5, kind("b", SECOND, 3)))
    # From the end of the pass under way; in the first of its own passes, company is tried.
    assert latencies(result) == {"a": [12.0], "b": [0.5 + 2 + 2]}


def test_company_where_it_is_free() -> None:
    for way in ("ours", "continuous"):
        result = simulate(way, (0.0, kind("a", FREE, 4)), (1.5, kind("b", FREE, 4)))
        assert latencies(result) == {"a": [4.0], "b": [4.5]}


def test_a_static_batch_waits_for_its_window_and_runs_to_its_end() -> None:
    asked = [(at, kind(name, FREE, 4)) for name, at in (("a", 0.0), ("b", 0.03), ("late", 1.0))]
    assert latencies(simulate("static", *asked)) == {"a": [4.05], "b": [4.02], "late": [7.05]}


def test_a_static_batch_is_of_equal_steps() -> None:
    result = simulate("static", (0.0, kind("a", FREE, 4)), (0.01, kind("b", FREE, 2)))
    assert latencies(result) == {"a": [4.05], "b": [6.04]}


def test_a_full_static_batch_does_not_wait() -> None:
    result = simulate("static", (0.0, kind("a", FREE, 4, images=16)))
    assert latencies(result) == {"a": [4.0] * 16}


def test_encoding_and_decoding_take_their_time() -> None:
    whole = Kind("a", Shape("m", SECOND, encode=ENDS, decode=ENDS), 2)
    assert latencies(simulate("ours", (0.0, whole))) == {"a": [2 + 2 * 0.375]}


def test_a_model_is_loaded_before_it_is_used() -> None:
    asked = (0.0, kind("a", SECOND, 2))
    assert latencies(simulate("ours", asked, box=Box())) == {"a": [12.0]}


def test_the_model_that_was_not_used_for_longest_makes_room() -> None:
    of = {model: Kind(model, shape(SECOND, model), 2) for model in "abc"}
    asked = [(0.0, of["a"]), (5.0, of["c"]), (30.0, of["a"]), (40.0, of["b"])]
    result = simulate("FIFO", *asked, box=Box(models_kept=2, resident=(("b", "a"),)))
    assert latencies(result) == {"a": [2.0, 2.0], "c": [12.0], "b": [12.0]}


def test_a_device_that_has_the_model_is_preferred() -> None:
    other = Kind("b", shape(SECOND, "other"), 2)
    for way in WAYS:
        box = Box(devices=2, models_kept=1, resident=(("m",), ("other",)))
        found = latencies(simulate(way, (0.0, other), box=box))
        assert found == {"b": [2.05 if way == "static" else 2.0]}


def delays(*moments: float) -> list[float]:
    """Of single jobs of 20 s, beside another caller's hundred, which come at 100 s."""
    crowd = kind("crowd", SECOND, 20, callers=("crowd",), images=100)
    single = kind("single", SECOND, 20, callers=("single",))
    asked = [(0.0, kind("first", SECOND, 20)), (100.0, crowd), *((at, single) for at in moments)]
    return [latency - 20.0 for latency in simulate("ours", *asked).latencies["single"]]


def test_a_hundred_images_delay_another_caller_by_no_more_than_its_own_work() -> None:
    assert max(delays(110.3, 310.3, 610.3)) <= 20.0 + 2.0  # and two steps


def test_nor_when_they_have_waited_for_long() -> None:
    assert max(delays(1010.3)) <= 20.0 + 2.0


def test_company_that_was_there_from_the_beginning_is_tested_against_none() -> None:
    together = simulate("ours", (0.0, kind("a", SECOND, 20, images=2)))
    assert sorted(together.latencies["a"]) == pytest.approx([20.0, 40.0], abs=3.0)


SLOWER = Line(0.05, 0.01)
MIX = (
    Kind("short", Shape("m", SLOWER, encode=ENDS, decode=ENDS), 8, callers=("x", "y")),
    Kind("long", Shape("m", SLOWER, encode=ENDS, decode=ENDS), 40, callers=("z",)),
    Kind("streamed", Shape("m", SLOWER, encode=ENDS), 20, callers=("x",), streams=True),
    Kind("heavy", Shape("n", Line(0.0, 0.03), rows=2), 20, images=4, callers=("y", "z")),
)
TWO = Box(devices=2, models_kept=1, resident=(("m",), ("n",)))


def mixed(way: str, kinds: Sequence[Kind] = MIX, stepping: bool = False, seed: int = 3) -> Result:
    coming = arrivals(kinds, 0.7, seed, 400.0, Bursts(seed), 5.0)
    return Simulation(TWO, WAYS[way](), coming, stepping).run()


@pytest.mark.parametrize("way", WAYS)
def test_every_request_is_answered_once(way: str) -> None:
    result = mixed(way)
    asked = list(arrivals(MIX, 0.7, 3, 400.0, Bursts(3), 5.0))
    for kind in MIX:
        images = sum(one.kind.images for one in asked if one.kind.name == kind.name)
        assert len(result.latencies[kind.name]) == images > 20
        assert min(result.latencies[kind.name]) >= 0.999 * kind.steps * kind.shape.step.at(1)


@pytest.mark.parametrize("way", WAYS)
def test_the_same_seed_gives_the_same_numbers(way: str) -> None:
    assert mixed(way).latencies == mixed(way).latencies != mixed(way, seed=4).latencies


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("callers", ["one", "several"])
def test_many_passes_at_once_are_the_same_as_one_by_one(way: str, callers: str) -> None:
    kinds = MIX if callers == "several" else [replace(kind, callers=("x",)) for kind in MIX]
    at_once, one_by_one = mixed(way, kinds), mixed(way, kinds, stepping=True)
    assert latencies(at_once) == one_by_one.latencies
    assert at_once.busy == pytest.approx(one_by_one.busy)
