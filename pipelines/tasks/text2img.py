"""A prompt -> an image: the one call of a text-to-image pipeline, whatever its family."""

import inspect
from collections.abc import Callable
from typing import Any

import torch

from pipelines.core import Job


def run(pipe: Any, job: Job, on_step_end: Callable[..., dict[str, Any]]) -> torch.Tensor:
    """Returns (1, 3, job.height, job.width) in [0, 1], on the pipeline's device."""
    images: torch.Tensor = pipe(
        prompt=job.prompt,
        width=job.width,
        height=job.height,
        num_inference_steps=job.steps,
        generator=torch.Generator("cpu").manual_seed(job.seed),
        output_type="pt",
        callback_on_step_end=on_step_end,
        **guidance(pipe, job),
        **text_length(pipe),
    ).images
    return images


def guidance(pipe: Any, job: Job) -> dict[str, Any]:
    """The arguments by which a pipeline is guided, always meaning the same `guidance_scale`.

    Pipelines with `true_cfg_scale` use `guidance_scale` for an embedding that only
    guidance-distilled models have. The others, and any model that is given a negative prompt, are
    guided by true CFG.
    """
    if "true_cfg_scale" not in _parameters(pipe):
        return {"guidance_scale": job.guidance_scale, "negative_prompt": job.negative_prompt}
    embedded = bool(pipe.transformer.config.get("guidance_embeds"))
    if job.guidance_scale <= 1 or (embedded and job.negative_prompt is None):
        return {"guidance_scale": job.guidance_scale}
    return {
        "guidance_scale": 1.0,
        "true_cfg_scale": job.guidance_scale,
        "negative_prompt": job.negative_prompt or "",
    }


def text_length(pipe: Any) -> dict[str, int]:
    """T5's length in tokens: the pipeline's default, or less where the model knows less."""
    parameter = _parameters(pipe).get("max_sequence_length")
    if parameter is None:
        return {}
    tokenizer: Any = getattr(pipe, "tokenizer_3", None) or getattr(pipe, "tokenizer_2", None)
    return {"max_sequence_length": min(parameter.default, tokenizer.model_max_length)}


def _parameters(pipe: Any) -> Any:
    return inspect.signature(type(pipe).__call__).parameters
