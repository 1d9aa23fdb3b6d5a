"""The simulator is given what the engine measured, beside the time that is set."""

import pytest
import torch

from bench.agreement import LONG, SHORT, STEP, job, kinds_of, paced_model, simulate
from bench.gpu import Bench
from bench.simulation.arrivals import Arrival
from pipelines.lanes.joins import Stage


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(paced_model(tmp_path_factory.mktemp("agreement")), "cpu")


def test_what_was_measured_of_the_other_passes_makes_a_shape(bench: Bench) -> None:
    stages = {meeting.name: meeting.join.stage for meeting in bench.model.meetings}
    seconds = {Stage.ENCODE: 0.25, Stage.DENOISE: 9.0, Stage.DECODE: 0.125}
    for name, stage in stages.items():
        bench.policy.curves[f"{name}:1"].observe(1, seconds[stage])
    encoders = list(stages.values()).count(Stage.ENCODE)
    short, long = kinds_of(bench)
    assert encoders == 3, "two of texts, one of pictures"
    alone = 0.75 + SHORT * STEP.at(1) + 0.125
    assert short.shape.alone_s(SHORT) == pytest.approx(alone)
    figures = simulate((short, long), [Arrival(0.0, short, ""), Arrival(100.0, long, "")])
    assert figures.images == 2
    assert figures.mean == pytest.approx(0.875 + (SHORT + LONG) / 2 * STEP.at(1))


def test_a_step_takes_what_it_is_set_to(bench: Bench) -> None:
    with torch.no_grad():
        assert bench.run([job("one", 4)]) > 4 * STEP.at(1)
