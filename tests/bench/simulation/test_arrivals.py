"""Lists of requests: the same for a seed, at the rate that was asked for, in the mix asked for."""

from itertools import pairwise

import pytest

from bench.simulation.arrivals import DAY_S, Bursts, Kind, arrivals, daily, steady, work_s
from bench.simulation.models import Line, Shape

SHAPE = Shape("m", Line(1.0, 0.5), encode=Line(0.25, 0.0))
KINDS = (Kind("a", SHAPE, 2, share=3, callers=("x", "y")), Kind("b", SHAPE, 4, images=2))


def test_the_same_seed_gives_the_same_list() -> None:
    one, again, other = (list(arrivals(KINDS, 1.0, seed, 500)) for seed in (1, 1, 2))
    assert one == again != other


@pytest.mark.parametrize("pace", ["steady", "bursts", "daily"])
def test_as_many_come_as_were_asked_for(pace: str) -> None:
    paces = {"steady": (steady, 1.0), "bursts": (Bursts(1), 5.0), "daily": (daily, 1.6)}
    found = list(arrivals(KINDS, 0.25, 1, DAY_S, *paces[pace]))
    assert len(found) == pytest.approx(0.25 * DAY_S, rel=0.05)
    assert sum(one.kind.name == "a" for one in found) == pytest.approx(0.75 * len(found), rel=0.05)
    assert {one.caller for one in found if one.kind.name == "a"} == {"x", "y"}
    assert all(before.at < after.at < DAY_S for before, after in pairwise(found))


def test_bursts_are_bursts() -> None:
    pace = Bursts(seed=1, times=5.0, share=0.1)
    paces = [pace(second) for second in range(200_000)]
    assert max(paces) == pytest.approx(5 * min(paces))
    assert sum(paces) / len(paces) == pytest.approx(1.0, rel=0.05)


def test_noon_is_busier_than_midnight() -> None:
    assert daily(DAY_S / 2) == pytest.approx(1.6)
    assert daily(0.0) == pytest.approx(0.4)


def test_the_work_of_a_request() -> None:
    alone = {"a": 0.25 + 2 * 1.5, "b": 2 * (0.25 + 4 * 1.5)}
    assert work_s(KINDS) == pytest.approx((3 * alone["a"] + alone["b"]) / 4)
