"""What the policy promises against its rivals, in short simulations; and the command itself."""

from dataclasses import replace

import pytest

from bench import simulate
from bench.simulation.constants import constants
from bench.simulation.ratios import RATIOS, Ratio
from bench.simulation.scenarios import SCENARIOS
from bench.simulation.ways import WAYS, Ours
from pipelines.scheduling import policy, shares

MISSED = {"overload, equal", "flux"}
"""docs/PERFORMANCE.md says so, and why."""


@pytest.mark.parametrize(
    "ratio",
    [r for r in RATIOS if r.scenario not in MISSED],
    ids=lambda r: f"{r.scenario}-{r.kind}-{r.figure}",
)
def test_ours_against_a_rival(ratio: Ratio, monkeypatch: pytest.MonkeyPatch) -> None:
    short = replace(SCENARIOS[ratio.scenario], lasts_s=900.0)
    monkeypatch.setitem(SCENARIOS, ratio.scenario, short)
    assert ratio.of(seed=1) <= ratio.at_most


def test_a_short_list_of_devices_changes_little() -> None:
    fleet = replace(SCENARIOS["mixed"], lasts_s=300.0)
    short, full = (fleet.run(Ours(short_list=each)).figures()["all"] for each in (True, False))
    assert short.images == full.images
    assert short.mean == pytest.approx(full.mean, rel=0.2)


def test_the_table_has_every_way_and_kind(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["simulate", "light", "--lasts", "20"])
    simulate.main()
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    for way in WAYS:
        assert [line[1] for line in lines if line[:1] == [way]] == ["long", "short", "all"]


def test_constants_are_put_back() -> None:
    before = shares.AGEING, policy.STRETCH
    with constants(ageing=5.0, stretch=7.0):
        assert (shares.AGEING, policy.STRETCH) == (5.0, 7.0)
    assert (shares.AGEING, policy.STRETCH) == before
