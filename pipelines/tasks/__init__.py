"""What a job may ask for: each task is one file, a Job in, one diffusers pipeline call out."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from pipelines.core import Job, Task

Run = Callable[[Any, Job, Callable[..., dict[str, Any]]], Any]
"""(pipeline, job, callback_on_step_end) -> the image as (1, 3, height, width) in [0, 1]."""

_TASKS: dict[Task, str] = {
    "text2img": "pipelines.tasks.text2img",
    "img2img": "pipelines.tasks.img2img",
    "inpaint": "pipelines.tasks.inpaint",
    "edit": "pipelines.tasks.edit",
    "variation": "pipelines.tasks.variation",
}


def task(name: Task) -> Run:
    """The function that runs a task."""
    run: Run = import_module(_TASKS[name]).run
    return run
