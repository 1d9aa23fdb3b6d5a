"""An image -> others like it, by a model that is told of it in place of a prompt."""

from typing import Any

import torch

from pipelines.core import Job
from pipelines.tasks.arguments import OnStepEnd, call
from pipelines.tasks.pictures import rgb


def run(pipe: Any, job: Job, on_step_end: OnStepEnd) -> torch.Tensor:
    """Returns (1, 3, job.height, job.width) in [0, 1], on the pipeline's device.

    `pipe.prior` is the pipeline that reads the image; it encodes the prompt, if any, as well.
    """
    read = pipe.prior(rgb(job), prompt=job.prompt)
    return call(pipe, job, on_step_end, prompt=None, **read)
