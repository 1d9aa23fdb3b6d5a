"""One family's pipelines for several tasks, over the same modules.

Knows how diffusers names its pipelines and what their calls take; no family by name.
"""

import copy
import inspect
from typing import Any

from pipelines.core import Task
from pipelines.tasks.arguments import parameters

_NAMED: dict[Task, str] = {"img2img": "Img2Img", "inpaint": "Inpaint"}
"""How diffusers calls a family's pipeline for a task, between the family's name and `Pipeline`."""


def sibling(pipe: Any, task: Task) -> Any:
    """The pipeline for a task that shares all modules with another, which may be the same.

    Raises ValueError if diffusers has none for this family.
    """
    if task == task_of(pipe):
        return pipe
    if task == "variation":
        raise ValueError(f"{type(pipe).__name__} has no prior")
    found = _registered(pipe, task) or _named(pipe, task)
    if found is None:
        raise ValueError(f"{type(pipe).__name__} has no task '{task}'")
    found.set_progress_bar_config(disable=True)
    return found


def _registered(pipe: Any, task: Task) -> Any | None:
    """The one that diffusers' tables link to this one, if it does the task indeed."""
    import diffusers

    tables = {
        "text2img": diffusers.AutoPipelineForText2Image,
        "img2img": diffusers.AutoPipelineForImage2Image,
        "inpaint": diffusers.AutoPipelineForInpainting,
    }
    if task not in tables:
        return None
    try:
        # Not `DiffusionPipeline.from_pipe`, which casts the shared modules to float32, in place.
        found = tables[task].from_pipe(pipe)
    except ValueError:
        return None
    # Where a family is instructed, its tables name that pipeline for images, with or without one.
    does = task_of(found)
    return found if does == task or (does, task) == ("edit", "text2img") else None


def _named(pipe: Any, task: Task) -> Any | None:
    """The one that is called after this one and the task."""
    import diffusers

    name = type(pipe).__name__.removesuffix("Pipeline") + _NAMED.get(task, "") + "Pipeline"
    kind = getattr(diffusers, name, None)
    if task not in _NAMED or kind is None:
        return None
    told = dict(pipe.config) | pipe.components
    takes = inspect.signature(kind.__init__).parameters.keys()
    return kind(**{argument: value for argument, value in told.items() if argument in takes})


def with_prior(pipe: Any, prior: Any) -> Any:
    """The pipeline for variations: that for prompts, with the one that reads pictures for it.

    `prior` gets what it lacks, the text encoders, of `pipe`.
    """
    needs = inspect.signature(prior.__init__).parameters.keys() & pipe.components.keys()
    missing = {name: pipe.components[name] for name in needs if getattr(prior, name) is None}
    varied = copy.copy(sibling(pipe, "text2img"))
    varied.prior = type(prior)(**prior.components | missing)
    return varied


def task_of(pipe: Any) -> Task:
    """What a pipeline is made for, told by the pictures that its call takes."""
    takes = parameters(pipe).keys()
    if "mask_image" in takes:
        return "inpaint"
    if "image" in takes:
        return "img2img" if "strength" in takes else "edit"
    return "text2img"
