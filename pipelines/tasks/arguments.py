"""What the calls of all tasks have in common, as arguments of whichever pipeline it is.

Knows jobs and the signatures of diffusers pipelines, not their families by name.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from pipelines.core import Job

_STATE_STARTS, _STATE_WORDS = 24, 624
"""Where the words of the Mersenne twister are in the bytes of a CPU generator's state (that of
torch's THGeneratorState), 64 bits for each, of which 32 count."""

OnStepEnd = Callable[..., dict[str, Any]]
"""A diffusers `callback_on_step_end`."""


def call(pipe: Any, job: Job, on_step_end: OnStepEnd, **of_the_task: Any) -> torch.Tensor:
    """The pipeline's one call for a job; (1, 3, height, width) in [0, 1], on its device."""
    wanted = {
        "prompt": job.prompt,
        "width": job.width,
        "height": job.height,
        "max_area": job.width * job.height,
        "num_inference_steps": job.steps,
        "generator": noise_generator(job.seed),
        "output_type": "pt",
        "callback_on_step_end": on_step_end,
        **guidance(pipe, job),
        **text_length(pipe),
        **of_the_task,
    }
    # Image-to-image pipelines of the Stable Diffusion families read the size off their image.
    known = {name: value for name, value in wanted.items() if name in parameters(pipe)}
    images: torch.Tensor = pipe(**known).images
    return images


def noise_generator(seed: int) -> torch.Generator:
    """A CPU generator for a seed of at most 64 bits; another seed is another stream of numbers.

    torch's generator looks at the lower 32 bits of a seed alone. So the whole of a longer one is
    spread over the generator's state, of 624 words, by numpy's SeedSequence.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    if seed >= 2**32:
        state = generator.get_state().numpy()
        words = np.random.SeedSequence(seed).generate_state(_STATE_WORDS)
        state[_STATE_STARTS : _STATE_STARTS + 8 * _STATE_WORDS].view(np.uint64)[:] = words
        generator.set_state(torch.from_numpy(state))
    return generator


def guidance(pipe: Any, job: Job) -> dict[str, Any]:
    """The arguments by which a pipeline is guided, always meaning the same `guidance_scale`.

    Pipelines with `true_cfg_scale` use `guidance_scale` for an embedding that only
    guidance-distilled models have. The others, and any model that is given a negative prompt, are
    guided by true CFG.
    """
    if "true_cfg_scale" not in parameters(pipe):
        return {"guidance_scale": job.guidance_scale, "negative_prompt": job.negative_prompt}
    embedded = bool(pipe.transformer.config.get("guidance_embeds"))
    if embedded and (job.guidance_scale <= 1 or job.negative_prompt is None):
        return {"guidance_scale": job.guidance_scale}
    if job.guidance_scale <= 1:
        return {"true_cfg_scale": 1.0}
    truly = {"true_cfg_scale": job.guidance_scale, "negative_prompt": job.negative_prompt or ""}
    return truly | ({"guidance_scale": 1.0} if embedded else {})


def text_length(pipe: Any) -> dict[str, int]:
    """The text's length in tokens, whatever the prompt: another one would be another picture.

    It is the pipeline's default, or the more that the pipeline's tokenizer may give it where that
    costs short texts nothing (Qwen-Image), or the less that the model knows.
    """
    parameter = parameters(pipe).get("max_sequence_length")
    if parameter is None:
        return {}
    most = max(parameter.default, getattr(pipe, "tokenizer_max_length", 0))
    known = getattr(_longest(pipe), "model_max_length", most)
    return {"max_sequence_length": min(most, known)}


def limit_text(pipe: Any, tokens: int) -> None:
    """Have a pipeline that pads its texts know that its model reads no more tokens than these."""
    longest = _longest(pipe)
    if longest is not None and "max_sequence_length" in parameters(pipe):
        longest.model_max_length = min(getattr(longest, "model_max_length", tokens), tokens)


def _longest(pipe: Any) -> Any:
    """The tokenizer of those whose text encoder reads the longest texts."""
    names = ("tokenizer_3", "tokenizer_2", "tokenizer")
    return next((it for name in names if (it := getattr(pipe, name, None)) is not None), None)


def parameters(pipe: Any) -> Mapping[str, inspect.Parameter]:
    """What a pipeline's call takes."""
    return inspect.signature(type(pipe).__call__).parameters
