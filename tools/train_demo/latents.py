"""The flow model's training set: scenes, rendered and encoded once."""

import random
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, FluxPipeline
from torch import Tensor

from .raster import render
from .scenes import Scene, lay_out, training_scene

CHUNK = 64


def pack(latents: Tensor) -> Tensor:
    """Latents [B, C, H, W] as Flux's tokens [B, H/2 * W/2, 4C]."""
    packed: Tensor = FluxPipeline._pack_latents(latents, *latents.shape)
    return packed


def training_scenes(count: int, seed: int) -> list[Scene]:
    """The scenes of the training set; the same ones for the same seed."""
    rng = random.Random(seed)
    return [training_scene(rng) for _ in range(count)]


@torch.no_grad()
def encode_scenes(
    vae: AutoencoderTiny, scenes: list[Scene], path: Path, device: torch.device
) -> Tensor:
    """The scenes' packed latents [N, tokens, 4C] in bfloat16, kept at path."""
    if path.exists():
        kept: Tensor = torch.load(path, weights_only=True)
        return kept
    rng = random.Random(len(scenes))
    encoder = torch.compile(vae.encoder.to(device, memory_format=torch.channels_last))
    chunks = []
    for start in range(0, len(scenes), CHUNK):
        images = render(lay_out(scenes[start : start + CHUNK], rng)).to(
            device, memory_format=torch.channels_last
        )
        with torch.autocast(device.type, torch.bfloat16):
            chunks.append(pack(encoder(images).float()).bfloat16().cpu())
    latents = torch.cat(chunks)
    torch.save(latents, path)
    return latents
