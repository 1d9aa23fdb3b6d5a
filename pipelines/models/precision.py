"""The dtypes in which an autoencoder computes.

diffusers' SDXL pipelines convert their autoencoder around each `encode`, and in float16 around each
`decode`. Lanes share it, so it is converted once, at load, and gives the same latents and images.
Importing this loads no tensor library.
"""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

WIDE_ENCODER = "bfloat16 with a float32 encoder"

_CONVERTING = ("StableDiffusionXL", "Kolors")
"""The first words of the names of pipelines that convert their autoencoder."""


def fix_autoencoder_precision(pipe: Any) -> None:
    """Convert the autoencoder of a pipeline, so that no call of the pipeline does.

    In float16 all of it becomes float32, in every family: it overflows. In bfloat16 its encoder
    does, where the pipeline would convert it.
    """
    vae: Any = getattr(pipe, "vae", None)
    if vae is None or not vae.config.get("force_upcast"):
        return
    if vae.dtype.itemsize == 4:  # it is what it would be converted to
        return
    dtype, converts = vae.dtype, type(pipe).__name__.startswith(_CONVERTING)
    if str(dtype) == "torch.float16":
        vae.float()
    elif converts:
        for name, part in vae.named_children():
            if _is_of_encoder(name):
                part.float()
    vae.register_to_config(force_upcast=False)
    decoder = next(vae.decoder.parameters()).dtype
    encoder = next(vae.encoder.parameters()).dtype
    vae.decode = _casting(vae.decode, decoder)
    # A pipeline that converts its autoencoder also converts the latents, after it has sampled them.
    vae.encode = _casting(vae.encode, encoder, encoder if converts else dtype)


def stored_dtype(component: Path, dtype: str, pipeline: str) -> str:
    """The dtype of a component's weights in memory, by its folder, its model's dtype and the class
    of its pipeline; for one with two, `WIDE_ENCODER`."""
    config = component / "config.json"
    if dtype == "float32" or not config.is_file():
        return dtype
    if not json.loads(config.read_bytes()).get("force_upcast"):
        return dtype
    if dtype == "float16":
        return "float32"
    return WIDE_ENCODER if pipeline.startswith(_CONVERTING) else dtype


def dtype_of_weight(name: str, dtype: str) -> str:
    """The dtype of one of the weights of a component with a `stored_dtype`."""
    if dtype != WIDE_ENCODER:
        return dtype
    return "float32" if any(map(_is_of_encoder, name.split("."))) else "bfloat16"


def _is_of_encoder(name: str) -> bool:
    return name in ("encoder", "quant_conv")


def _casting(
    method: Callable[..., Any], takes: "torch.dtype", gives: "torch.dtype | None" = None
) -> Callable[..., Any]:
    """A method of an autoencoder, for tensors of any dtype; `gives`: the dtype of its latents."""

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        cast = {name: _cast(value, takes) for name, value in kwargs.items()}
        answer = method(*(_cast(arg, takes) for arg in args), **cast)
        return answer if gives in (None, takes) else _latents_as(answer, gives)

    return call


def _cast(value: Any, dtype: "torch.dtype") -> Any:
    return value.to(dtype) if hasattr(value, "is_floating_point") else value


def _latents_as(answer: Any, dtype: "torch.dtype") -> Any:
    """The output of `encode` with its distribution in another dtype."""
    distribution = answer[0]
    cast = type(distribution)(distribution.parameters.to(dtype), distribution.deterministic)
    return (cast,) if isinstance(answer, tuple) else type(answer)(latent_dist=cast)
