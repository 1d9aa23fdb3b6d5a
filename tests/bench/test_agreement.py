"""The simulator is given what the worker kept on disk."""

from pathlib import Path

import pytest

from bench.agreement import LONG, SHORT, kinds_of, shape_of, simulate
from bench.simulation.arrivals import Arrival
from pipelines.curves import Curves
from pipelines.times import Times


def kept(folder: Path) -> Path:
    curves = Curves()
    for key, seconds in (("text_encoder@1:a", 0.25), ("text_encoder_2@1:b", 0.5)):
        curves[key].observe(1, seconds)
    curves["vae@1:c"].observe(1, 0.125)
    curves["transformer@1:d"].observe(1, 1.0)
    curves["transformer@1:d"].observe(4, 1.6)
    Times(folder, "cpu").save(curves, now=1e9)
    (file,) = folder.iterdir()
    return file


def test_measured_times_make_a_shape(tmp_path: Path) -> None:
    shape = shape_of(kept(tmp_path))
    assert [shape.step.at(rows) for rows in (1, 3, 4)] == pytest.approx([1.0, 1.4, 1.6])
    assert shape.alone_s(SHORT) == 0.75 + SHORT + 0.125


def test_the_same_requests_are_simulated(tmp_path: Path) -> None:
    short, long = kinds_of(shape_of(kept(tmp_path)))
    figures = simulate((short, long), [Arrival(0.0, short, ""), Arrival(100.0, long, "")])
    assert figures.images == 2
    assert figures.passes == figures.mean == pytest.approx((SHORT + LONG) / 2 + 0.875)
