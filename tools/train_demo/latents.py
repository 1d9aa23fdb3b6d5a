"""The flow model's training set: scenes and composites, rendered and encoded once."""

import random
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, FluxPipeline
from torch import Tensor

from .composites import composites
from .raster import render
from .scenes import Scene, Shape, lay_out, training_scene

CHUNK = 64
Drawn = tuple[list[Scene], Tensor]  # what is said, and images or latents of it


def pack(latents: Tensor) -> Tensor:
    """Latents [B, C, H, W] as Flux's tokens [B, H/2 * W/2, 4C]."""
    packed: Tensor = FluxPipeline._pack_latents(latents, *latents.shape)
    return packed


def scene_pictures(count: int, rng: random.Random) -> Drawn:
    """Training scenes and their images [count, 3, SIDE, SIDE]."""
    scenes = [training_scene(rng) for _ in range(count)]
    return scenes, render(lay_out(scenes, rng))


@torch.no_grad()
def encode(
    vae: AutoencoderTiny,
    draw: Callable[[int, random.Random], Drawn],
    count: int,
    seed: int,
    path: Path,
) -> Drawn:
    """At least count pictures' scenes and packed latents [N, tokens, 4C], kept at path."""
    if path.exists():
        said, latents = torch.load(path, weights_only=True)
        return [_scene(*parts) for parts in said], latents
    rng, device = random.Random(seed), vae.device
    encoder = torch.compile(vae.encoder.to(memory_format=torch.channels_last))
    scenes, chunks = list[Scene](), list[Tensor]()
    while len(scenes) < count:
        said, images = draw(CHUNK, rng)
        with torch.autocast(device.type, torch.bfloat16):
            encoded = encoder(images.to(device, memory_format=torch.channels_last))
        scenes += said
        chunks.append(pack(encoded.float()).bfloat16().cpu())
    torch.save(([astuple(scene) for scene in scenes], torch.cat(chunks)), path)
    return scenes, torch.cat(chunks)


def encode_all(
    vae: AutoencoderTiny, scenes: int, share: float, seed: int, work: Path
) -> tuple[list[Scene], Tensor, int]:
    """Scenes and then composites, so many for each: said, encoded, and how many composites."""
    plain, latents = encode(vae, scene_pictures, scenes, seed, work / "scenes.pt")
    count = int(scenes * share)
    mixed, more = encode(vae, composites, count, seed, work / "composites.pt")
    return plain + mixed, torch.cat([latents, more]), len(mixed)


def _scene(background: str | None, shapes: tuple[tuple[str | None, ...], ...]) -> Scene:
    return Scene(background, tuple(Shape(*shape) for shape in shapes))
