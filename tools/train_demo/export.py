"""Writes the trained parts as a FluxPipeline in bfloat16, whole or not at all."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderTiny,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
)

from .text import TextEncoders
from .tokenizers import clip_tokenizer, t5_tokenizer

SHIFT = 2.5


def assemble(
    vae: AutoencoderTiny, encoders: TextEncoders, flow: FluxTransformer2DModel
) -> FluxPipeline:
    """The pipeline of the parts, in bfloat16 on the CPU.

    With tokenizers that nobody has called: one is saved with how it was last told to pad and cut.
    """
    noise_scheduler = FlowMatchEulerDiscreteScheduler(shift=SHIFT, use_dynamic_shifting=False)
    pipeline = FluxPipeline(
        scheduler=noise_scheduler,
        vae=vae.eval(),
        text_encoder=encoders.clip.eval(),
        tokenizer=clip_tokenizer(),
        text_encoder_2=encoders.t5.eval(),
        tokenizer_2=t5_tokenizer(),
        transformer=flow.eval(),
    )
    return pipeline.to("cpu", torch.bfloat16)


def export(pipeline: FluxPipeline, out: Path) -> None:
    """Saves beside out, then takes its place."""
    draft = out.with_name(f".{out.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    pipeline.save_pretrained(draft, safe_serialization=True)
    for name in ("text_encoder", "text_encoder_2"):  # else they alone would load as bfloat16
        amend(draft / name / "config.json", dtype="float32")
    amend(draft / "vae" / "config.json", block_out_channels=None)  # derived: diffusers warns of it
    for path in draft.rglob("*.safetensors"):
        path.chmod(0o644)
    shutil.rmtree(out, ignore_errors=True)
    draft.rename(out)


def amend(path: Path, **values: Any) -> None:
    """Sets values in a JSON file; None takes one out."""
    config = {**json.loads(path.read_text()), **values}
    kept = {key: value for key, value in config.items() if value is not None or key not in values}
    path.write_text(json.dumps(kept, indent=2) + "\n")
