"""Previews: what a lane is heading for, told on the way."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, PNDMScheduler

from pipelines.core import Job
from pipelines.lanes.lanes import fork
from pipelines.models.loader import Resident
from pipelines.preview import Estimator, due
from pipelines.tasks import task
from tests import tiny

Jobs = Callable[[str], list[Job]]


def estimates(pipe: object, job: Job) -> tuple[list[torch.Tensor], torch.Tensor]:
    """The estimate after every step, and the final image."""
    mine, seen = fork(pipe), []
    estimator = Estimator(mine)

    def on_step_end(pipe, step, timestep, tensors):  # type: ignore[no-untyped-def]
        seen.append(estimator.image(job.width, job.height))
        return tensors

    return seen, task(job.task)(mine, job, on_step_end)


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("which", [0, 4], ids=["text2img", "img2img"])
def test_the_estimate_of_the_last_step_is_the_image(
    family: str, which: int, residents: dict[str, Resident], jobs: Jobs
) -> None:
    job = jobs(family)[which]
    seen, final = estimates(residents[family].pipe_for(job.task), job)
    assert (seen[-1] - final).abs().max() < 1 / 255
    assert (seen[0] - final).abs().max() > 8 / 255


@pytest.mark.parametrize("kind", [DDPMScheduler, PNDMScheduler, DPMSolverMultistepScheduler])
def test_noise_schedulers_that_tell_nothing_themselves(
    kind: type, residents: dict[str, Resident], jobs: Jobs
) -> None:
    """Early estimates of an SD pipeline are rough; late ones are close to its image."""
    pipe = fork(residents["sd"].pipe)
    vars(pipe)["scheduler"] = kind.from_config(pipe.scheduler.config)
    seen, final = estimates(pipe, replace(jobs("sd")[0], steps=12))
    distances = [float((one - final).abs().mean()) for one in seen]
    assert distances[-1] < 0.02
    assert distances[-1] < distances[0] / 3


def test_watching_changes_nothing(residents: dict[str, Resident], jobs: Jobs) -> None:
    job = jobs("sdxl")[0]
    pipe = residents["sdxl"].pipe
    plain = task(job.task)(fork(pipe), job, lambda pipe, step, timestep, tensors: tensors)
    assert torch.equal(estimates(pipe, job)[1], plain)


@pytest.mark.parametrize(
    ("steps", "previews", "after"),
    [(8, 3, [2, 4, 6]), (4, 3, [1, 2, 3]), (50, 1, [25]), (10, 0, []), (1, 3, []), (2, 3, [1])],
)
def test_previews_are_spread_evenly_and_never_the_image_itself(
    steps: int, previews: int, after: list[int]
) -> None:
    assert [n + 1 for n in range(steps) if due(n, steps, previews)] == after


def test_numbers_are_finite(residents: dict[str, Resident], jobs: Jobs) -> None:
    seen, _ = estimates(residents["flux"].pipe, jobs("flux")[0])
    assert all(np.isfinite(one.numpy()).all() for one in seen)
