"""An image, others to look at and an instruction -> the image, by a model made for instructions."""

from typing import Any

import torch

from pipelines.core import Job
from pipelines.tasks.arguments import OnStepEnd, call
from pipelines.tasks.pictures import references, rgb


def run(pipe: Any, job: Job, on_step_end: OnStepEnd) -> torch.Tensor:
    """Returns (1, 3, job.height, job.width) in [0, 1], on the pipeline's device."""
    # The job's size is the model's own already; FLUX.1-Kontext would choose another.
    # A list only where it must be one: of some pipelines it would be several edits.
    image = [rgb(job), *references(job)] if job.references else rgb(job)
    return call(pipe, job, on_step_end, image=image, _auto_resize=False)
