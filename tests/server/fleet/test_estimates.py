"""Predictions: what was measured, else what is like it, else a guess."""

from dataclasses import replace

import pytest

from pipelines.core import Job
from server.fleet.estimates import GUESS_S, Estimates

JOB = Job(
    id="1", model="m", prompt="a fox", width=64, height=64, seed=1, steps=4, guidance_scale=2.0
)


@pytest.fixture
def estimates() -> Estimates:
    return Estimates({"m": 5_000_000_000, "other": 0}.__getitem__)


def test_a_guess_at_first(estimates: Estimates) -> None:
    assert estimates.work_s(JOB) == GUESS_S
    assert not estimates.measured


def test_a_job_like_it(estimates: Estimates) -> None:
    estimates.finished(JOB, 8.0)
    assert estimates.measured
    assert estimates.work_s(JOB) == 8.0
    assert estimates.work_s(replace(JOB, steps=8)) == 16.0


def test_work_on_a_picture_by_the_steps_that_it_runs(estimates: Estimates) -> None:
    retouched = replace(JOB, task="inpaint", steps=8, strength=0.25)
    estimates.finished(retouched, 2.0)
    assert estimates.work_s(replace(retouched, strength=1.0)) == 8.0


def test_another_size_in_proportion_and_another_model_by_guess(estimates: Estimates) -> None:
    estimates.finished(JOB, 8.0)
    assert estimates.work_s(replace(JOB, width=128)) == 16.0
    assert estimates.work_s(replace(JOB, model="other")) == GUESS_S


def test_the_latest_count_most(estimates: Estimates) -> None:
    for seconds in (4.0, 8.0):
        estimates.finished(JOB, seconds)
    assert estimates.work_s(JOB) == pytest.approx(6.0)
    for _ in range(40):
        estimates.finished(JOB, 1.0)
    assert estimates.work_s(JOB) == pytest.approx(1.0, abs=0.01)


def test_what_took_no_time_teaches_nothing(estimates: Estimates) -> None:
    estimates.finished(JOB, 0.0)
    assert not estimates.measured


def test_loading_by_size_until_it_was_seen(estimates: Estimates) -> None:
    assert estimates.load_s("m") == pytest.approx(6.0)
    estimates.loaded("m", 20.0)
    assert estimates.load_s("m") == 20.0
    assert estimates.load_s("other") == 1.0
