"""A model that nobody has asked for yet is measured, and nobody hears of it."""

from collections.abc import Callable
from typing import TypeVar

import pytest

from pipelines.lanes.joins import Stage
from pipelines.models.loader import Resident
from pipelines.scheduling.curves import Curves
from pipelines.scheduling.policy import Policy
from pipelines.scheduling.probe import is_probe, probes
from pipelines.scheduling.stopwatch import HostStopwatch, Measured
from tests.pipelines.conftest import Rig

T = TypeVar("T")


class Steady(HostStopwatch):
    """Company costs nothing, however busy the machine is."""

    def time(self, work: Callable[[], T], measured: Measured) -> T:
        answer = work()
        measured(1.0, 0.0)
        return answer


@pytest.mark.parametrize("family", ["sd", "flux"])
def test_a_few_jobs_teach_what_one_two_and_four_rows_take(
    family: str, rig: Rig, residents: dict[str, Resident]
) -> None:
    policy = rig.engine._policy = rig.engine.passes._policy = Policy(Curves())
    rig.engine._watch = rig.engine.passes._watch = Steady()
    jobs = probes(family, residents[family].spec)
    rig.run(*jobs)
    assert all(is_probe(job.id) for job in jobs)
    [denoiser] = [m for m in residents[family].meetings if m.join.stage is Stage.DENOISE]
    [curve] = [it for key, it in policy.curves.all().items() if key.startswith(denoiser.name)]
    assert len(curve.seconds) >= 3


def test_a_model_that_takes_no_prompt_is_left_alone(residents: dict[str, Resident]) -> None:
    spec = residents["sd"].spec.model_copy(update={"tasks": frozenset({"edit"})})
    assert probes("sd", spec) == []
