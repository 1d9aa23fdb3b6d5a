"""A first look at what a device does with a model, before anybody asks: jobs that nobody awaits.

Knows jobs and sizes. The times are learned as from any other pass, by the policy.
"""

from pipelines.core import Job
from pipelines.registry import ModelSpec

PREFIX = "probe-"
"""Of the ids of such jobs: nobody is told what became of them."""

_TOGETHER, _STEPS = 4, 3
"""A policy that knows nothing tries one call, then two, then four."""


def probes(model: str, spec: ModelSpec) -> list[Job]:
    """A few jobs of a few steps in the model's largest size; none for a model without prompts."""
    if "text2img" not in spec.tasks:
        return []
    width, height = spec.native.nearest(spec.native.largest, spec.native.largest)
    guidance_scale = spec.quality.medium.guidance_scale
    return [
        Job(
            id=f"{PREFIX}{model}-{number}", model=model, prompt="", width=width, height=height,
            seed=number, steps=_STEPS, guidance_scale=guidance_scale, caller=PREFIX, priority="low",
        )
        for number in range(_TOGETHER)
    ]  # fmt: skip


def is_probe(job_id: str) -> bool:
    """Whether a job is one of these."""
    return job_id.startswith(PREFIX)
