"""`ImageRequest` -> one `core.Job` for each image.

Knows seeds, presets, native sizes and strengths; not where or when a job will run.
"""

from collections.abc import Mapping
from math import ceil
from secrets import randbits
from typing import Any

from pipelines.core import Job, Strictness
from pipelines.registry import ModelSpec, Registry
from server.callers.callers import Caller
from server.reading.contract import ImageRequest
from server.reading.profiles import MAX_SEED, RANDOM_SEED
from server.reading.region import Canvas
from server.reading.sizes import Size

_LEAST_STRENGTH = 1 / 500


def plan(
    request: ImageRequest,
    prompt: str,
    registry: Registry,
    request_id: str,
    caller: Caller,
    moderation: Strictness | None = None,
) -> list[Job]:
    """The jobs of a request: equal but for their seeds, which count up from the first.

    `prompt`: the one that the model is given. `moderation`: how strictly their images are judged;
    None: not at all.
    """
    spec = registry.models[request.model]
    preset = getattr(spec.quality, request.level)
    canvas = request.delivery.canvas
    width, height = spec.native.nearest(*(canvas.rendered if canvas else request.delivery.size))
    asked = request.extensions
    steps = asked.get("steps", preset.steps)
    work: dict[str, Any] = {"steps": steps}
    cutout = request.delivery.transparent and registry.matting is not None
    if canvas:
        work = _on_canvas(canvas, (width, height), request.strength, steps)
        if request.task != "inpaint":
            work["mask"] = None
    seed = _seed(asked)
    return [
        Job(
            id=f"{request_id}-{index}",
            model=request.model,
            task=request.task,
            prompt=prompt,
            negative_prompt=asked.get("negative_prompt"),
            width=width,
            height=height,
            seed=(seed + index) % (MAX_SEED + 1),
            references=request.references,
            guidance_scale=asked.get("guidance_scale", preset.guidance_scale),
            previews=request.previews,
            cutout=cutout,
            loras=asked.get("loras", ()),
            moderation=moderation,
            caller=caller.name,
            weight=caller.weight,
            priority=caller.priority,
            **work,
        )
        for index in range(request.n)
    ]


def _seed(asked: Mapping[str, Any]) -> int:
    seed: int = asked.get("seed", RANDOM_SEED)
    # 32 bits, so that clients whose numbers are floats can ask for it again.
    return randbits(32) if seed == RANDOM_SEED else seed


def _on_canvas(canvas: Canvas, size: Size, strength: float, steps: int) -> dict[str, Any]:
    """What a job has beside a prompt when it works on a picture.

    A pipeline runs `strength` of its steps and needs one of them: where that would be less, there
    are as many steps as it takes.
    """
    strength = max(strength, _LEAST_STRENGTH)
    if int(steps * strength) < 1:
        steps = ceil(1 / strength)
        strength = max(strength, 1 / steps + 1e-9) if int(steps * strength) < 1 else strength
    return {
        "source": canvas.source(size),
        "mask": canvas.mask(size),
        "strength": min(strength, 1.0),
        "steps": steps,
    }


def unused(request: ImageRequest, job: Job, spec: ModelSpec) -> list[str]:
    """What of a request changes nothing: without guidance, a negative prompt has no pull; how
    strictly images are judged can be settled."""
    weak = {"negative_prompt"} if job.negative_prompt and job.guidance_scale <= 1 else set()
    settled = ["moderation"] if request.moderation not in (None, job.moderation) else []
    return settled + [name for name in request.extensions if name in spec.ignores | weak]
