"""A tiny Flux, as wide as it must be for weights that are stored in blocks of 64."""

from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from transformers import T5Config, T5EncoderModel

from tests import tiny


def build(folder: Path) -> Path:
    """Save it in a folder, and return it."""
    torch.manual_seed(0)
    tokens = tiny._t5_tokenizer()
    t5 = T5Config(vocab_size=len(tokens), d_model=64, d_ff=128, d_kv=16, num_heads=4, num_layers=2)
    pipe = FluxPipeline(
        vae=tiny._vae(16, shift_factor=0.06, scaling_factor=1.5),
        text_encoder=tiny._clip(width=64),
        text_encoder_2=T5EncoderModel(t5).eval(),
        tokenizer=tiny._clip_tokenizer(),
        tokenizer_2=tokens,
        transformer=FluxTransformer2DModel(
            in_channels=64,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=4,
            joint_attention_dim=64,
            pooled_projection_dim=64,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=True,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    )
    tiny._add_contrast(pipe)
    pipe.save_pretrained(folder)
    return folder
