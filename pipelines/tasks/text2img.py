"""A prompt -> an image."""

from typing import Any

import torch

from pipelines.core import Job
from pipelines.tasks.arguments import OnStepEnd, call


def run(pipe: Any, job: Job, on_step_end: OnStepEnd) -> torch.Tensor:
    """Returns (1, 3, job.height, job.width) in [0, 1], on the pipeline's device."""
    return call(pipe, job, on_step_end)
