"""`ImageRequest` -> one `core.Job` for each image.

Knows seeds, presets and native sizes; not where or when a job will run.
"""

from secrets import randbits

from pipelines.core import Job
from pipelines.registry import Registry
from server.contract import ImageRequest


def plan(request: ImageRequest, registry: Registry, request_id: str, caller: str) -> list[Job]:
    """The jobs of a request: equal but for their seeds, which count up from the first."""
    spec = registry.models[request.model]
    preset = getattr(spec.quality, request.level)
    width, height = spec.native.nearest(*request.delivery.size)
    asked = request.extensions
    seed = asked.get("seed", randbits(32))
    return [
        Job(
            id=f"{request_id}-{index}",
            model=request.model,
            prompt=request.prompt,
            negative_prompt=asked.get("negative_prompt"),
            width=width,
            height=height,
            seed=(seed + index) % 2**32,
            steps=asked.get("steps", preset.steps),
            guidance_scale=asked.get("guidance_scale", preset.guidance_scale),
            caller=caller,
        )
        for index in range(request.n)
    ]


def unused(job: Job) -> list[str]:
    """The parameters that change nothing: without guidance, a negative prompt has no pull."""
    return ["negative_prompt"] if job.negative_prompt and job.guidance_scale <= 1 else []
