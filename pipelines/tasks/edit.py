"""An image and an instruction -> the image as instructed, by a model that was trained for it."""

from typing import Any

import torch

from pipelines.core import Job
from pipelines.tasks.arguments import OnStepEnd, call
from pipelines.tasks.pictures import rgb


def run(pipe: Any, job: Job, on_step_end: OnStepEnd) -> torch.Tensor:
    """Returns (1, 3, job.height, job.width) in [0, 1], on the pipeline's device."""
    # The job's size is the model's own already; FLUX.1-Kontext would choose another.
    sizes = {"max_area": job.width * job.height, "_auto_resize": False}
    return call(pipe, job, on_step_end, image=rgb(job), **sizes)
