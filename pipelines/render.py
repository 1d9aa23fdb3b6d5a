"""A lane's whole life: its own fork of the pipeline, called once, and the pixels it gives."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from pipelines.core import Blocked, Image, Job, ModelUnavailable, NonFinite, Preview
from pipelines.lanes.finite import DAMAGED, DECODER
from pipelines.lanes.lanes import Lane, forked
from pipelines.models.loader import Resident
from pipelines.preview import Estimator, due
from pipelines.reading import Reading
from pipelines.tasks import task

log = logging.getLogger(__name__)


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
            estimate = _preview(estimator, lane, model)
            if estimate is not None:
                show(Preview(shown, to_image(estimate)))
                shown += 1
        return tensors

    with model.loras.on(model.pipe, job.loras) as lane.wears:
        decoded = task(job.task)(pipe, job, on_step_end)[0]
    pixels = eight_bits(decoded, lane.finite.image(decoded))
    if pixels is None:
        raise _non_finite(lane, model)
    _inspect(pixels, job, model)
    image = to_image(_cut_out(pixels, model) if job.cutout else pixels)
    return replace(image, unread=reading.unread)


def _preview(estimator: Estimator, lane: Lane, model: Resident) -> torch.Tensor | None:
    """The estimate of a lane's image, or None where there is none that may be shown.

    A preview that is left out says nothing about the image.
    """
    estimate = estimator.image(lane.job.width, lane.job.height)
    if estimate is None:
        return None
    pixels = eight_bits(estimate[0], lane.finite.image(estimate[0]))
    return pixels if pixels is not None and _may_be_seen(pixels, lane.job, model) else None


def _inspect(pixels: torch.Tensor, job: Job, model: Resident) -> None:
    """Raises Blocked for pixels that the content policy keeps back."""
    for judge in (model.guard, model.inspector):
        if judge and job.moderation:
            judge.check(pixels, job.moderation)


def _may_be_seen(pixels: torch.Tensor, job: Job, model: Resident) -> bool:
    try:
        _inspect(pixels, job, model)
    except Blocked:
        return False
    return True


def _cut_out(pixels: torch.Tensor, model: Resident) -> torch.Tensor:
    if model.matting is None:
        raise ModelUnavailable("there is no matting model")
    alpha = model.matting.alpha(pixels)
    opacity = eight_bits(alpha, torch.isfinite(alpha).all())
    if opacity is None:
        raise NonFinite("matting model", DAMAGED)
    return torch.cat([pixels, opacity])


_FLOAT16 = (
    "In float16 this is mostly an overflow. To fix it, run the {stage} in float32 or bfloat16: set "
    "`dtype: bfloat16` or `dtype: float32` for this model in weights.yaml."
)
_STRENGTH = " A LoRA scale or guidance_scale that is too high for the model has the same effect."


def _non_finite(lane: Lane, model: Resident) -> NonFinite:
    job, stage, dtype = lane.job, lane.finite.first_failure(), model.spec.dtype
    remedy = _FLOAT16.format(stage=stage) if dtype == "float16" else DAMAGED
    remedy += _STRENGTH if stage != DECODER else ""
    log.error("job %s: %s in %s returned NaN or infinite values", job.id, stage, job.model)
    return NonFinite(f"{stage} of the model '{job.model}'", remedy)


def eight_bits(pixels: torch.Tensor, check: torch.Tensor) -> torch.Tensor | None:
    """(channels, height, width) in [0, 1] -> 8 bits on the host, rounded as diffusers does for PIL.

    None if `check`, a boolean on the device, is false. It is copied together with the pixels, so
    reading it does not wait for the device once more.
    """
    rows = (pixels.float() * 255).round().to(torch.uint8).permute(1, 2, 0)
    copied = torch.cat([rows.flatten(), check.reshape(1).to(torch.uint8)]).cpu()
    return copied[:-1].view(rows.shape).permute(2, 0, 1) if copied[-1] else None


def to_image(pixels: torch.Tensor) -> Image:
    """(channels, height, width) in 8 bits, on the host."""
    rows = pixels.permute(1, 2, 0).contiguous().numpy()
    return Image(width=rows.shape[1], height=rows.shape[0], pixels=rows.data.cast("B"))
