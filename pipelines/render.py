"""A lane's whole life: its own fork of the pipeline, called once, and the pixels it gives."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from pipelines.core import Blocked, Image, Job, ModelUnavailable, Preview
from pipelines.lanes.lanes import Lane, forked
from pipelines.models.loader import Resident
from pipelines.preview import Estimator, due
from pipelines.reading import Reading
from pipelines.tasks import task


def render(lane: Lane, model: Resident, show: Callable[[Preview], None]) -> Image:
    """Called inside the lane; `show` gets the previews that its job asked for."""
    with forked(model.pipe_for(lane.job.task)) as pipe:
        return _render(pipe, lane, model, show)


def _render(pipe: Any, lane: Lane, model: Resident, show: Callable[[Preview], None]) -> Image:
    job = lane.job
    if model.guard is not None:
        vars(pipe)["safety_checker"] = None  # which would say nothing of what it does
    reading = Reading(pipe, job)
    estimator = Estimator(pipe) if job.previews else None
    shown = 0

    def on_step_end(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        nonlocal shown
        lane.step_ended(pipe.num_timesteps - step - 1)
        if estimator and due(step, pipe.num_timesteps, job.previews):
            estimate = estimator.image(job.width, job.height)
            if estimate is not None and _may_be_seen(estimate[0], job, model):
                show(Preview(shown, to_image(estimate[0])))
                shown += 1
        return tensors

    with model.loras.on(model.pipe, job.loras) as lane.wears:
        pixels = task(job.task)(pipe, job, on_step_end)[0]
    _inspect(pixels, job, model)
    image = to_image(_cut_out(pixels, model) if job.cutout else pixels)
    return replace(image, unread=reading.unread)


def _inspect(pixels: torch.Tensor, job: Job, model: Resident) -> None:
    """Raises Blocked for pixels that the content policy keeps back."""
    for judge in (model.guard, model.inspector):
        if judge and job.moderation:
            judge.check(pixels, job.moderation)


def _may_be_seen(estimate: torch.Tensor, job: Job, model: Resident) -> bool:
    """Whether a preview is shown. One that is not says nothing of the image: it decides itself."""
    try:
        _inspect(estimate, job, model)
    except Blocked:
        return False
    return True


def _cut_out(pixels: torch.Tensor, model: Resident) -> torch.Tensor:
    if model.matting is None:
        raise ModelUnavailable("there is no matting model")
    return torch.cat([pixels.float(), model.matting.alpha(pixels).to(pixels.device)])


def to_image(pixels: torch.Tensor) -> Image:
    """(channels, height, width) in [0, 1] -> 8 bits, rounded as diffusers rounds them for PIL."""
    rounded = (pixels.float() * 255).round().to(torch.uint8)
    rows = rounded.permute(1, 2, 0).contiguous().cpu().numpy()
    return Image(width=rows.shape[1], height=rows.shape[0], pixels=rows.data.cast("B"))
