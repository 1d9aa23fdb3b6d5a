"""An image, a mask and a prompt -> the image, repainted where the mask says."""

from typing import Any

import torch

from pipelines.core import Job
from pipelines.tasks.arguments import OnStepEnd, call
from pipelines.tasks.pictures import mask, rgb


def run(pipe: Any, job: Job, on_step_end: OnStepEnd) -> torch.Tensor:
    """Returns (1, 3, job.height, job.width) in [0, 1], on the pipeline's device.

    Outside the mask the image is the model's reading of the source, not the source itself.
    """
    pictures = {"image": rgb(job), "mask_image": mask(job)}
    return call(pipe, job, on_step_end, strength=job.strength, **pictures)
