"""Scenes as inpainting meets them: one shape painted into a part of some other picture."""

import random

import torch
import torch.nn.functional as F
from torch import Tensor

from .raster import SIDE, grid, paint
from .scenes import COLOURS, KINDS, Layout, Scene, Shape

PLAIN_SHARE = 0.5  # of the painted parts have a background of their own, and say so


def composites(count: int, rng: random.Random) -> tuple[list[Scene], Tensor]:
    """What is said of each, and the images [count, 3, SIDE, SIDE] in -1..1."""
    said = [_said(rng) for _ in range(count)]
    parts = torch.tensor([_part(rng) for _ in range(count)])  # [B, 4]: left, top, right, bottom
    pictures = _pictures(count)
    inside = _inside(parts)
    grounds = torch.tensor([COLOURS[scene.background or "white"] for scene in said]) / 255
    plain = torch.tensor([scene.background is not None for scene in said])[:, None, None, None]
    canvas = torch.where(inside & plain, grounds[:, :, None, None], pictures)
    painted = paint(canvas, _layout(said, parts, rng), grid())
    return said, torch.where(inside, painted, pictures) * 2 - 1


def _said(rng: random.Random) -> Scene:
    colour, background = rng.sample(list(COLOURS), 2)
    shape = Shape(rng.choice(KINDS), colour, None, None)
    return Scene(background if rng.random() < PLAIN_SHARE else None, (shape,))


def _part(rng: random.Random) -> tuple[float, float, float, float]:
    """Half of the picture, more or less, or a window in it; fractions of the side."""
    cut = rng.uniform(0.4, 0.65)
    halves = [(0.0, 0.0, cut, 1.0), (1 - cut, 0.0, 1.0, 1.0), (0.0, 0.0, 1.0, cut)]
    if rng.random() < 0.7:
        return rng.choice([*halves, (0.0, 1 - cut, 1.0, 1.0)])
    width, height = rng.uniform(0.45, 0.85), rng.uniform(0.45, 0.85)
    left, top = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
    return left, top, left + width, top + height


def _inside(parts: Tensor) -> Tensor:
    x, y = grid().unbind(-1)
    left, top, right, bottom = (edge[:, None, None, None] for edge in parts.unbind(-1))
    return (x >= left) & (x < right) & (y >= top) & (y < bottom)


def _layout(said: list[Scene], parts: Tensor, rng: random.Random) -> Layout:
    """Each shape in the middle of its part, and as large as fits well."""
    count = len(said)
    colours = torch.tensor([COLOURS[scene.shapes[0].colour or "red"] for scene in said]) / 255
    kinds = torch.tensor([KINDS.index(scene.shapes[0].kind or "circle") for scene in said])
    middle = (parts[:, :2] + parts[:, 2:]) / 2
    least = (parts[:, 2:] - parts[:, :2]).amin(dim=1)
    radius = least * torch.tensor([rng.uniform(0.28, 0.38) for _ in range(count)])
    return Layout(
        background=torch.zeros(count, 3),
        colour=colours[:, None],
        kind=kinds[:, None],
        centre=middle[:, None],
        radius=radius[:, None],
        angle=torch.tensor([[rng.uniform(-0.04, 0.04)] for _ in range(count)]),
    )


def _pictures(count: int) -> Tensor:
    """Something like photographs [count, 3, SIDE, SIDE] in 0..1: soft light, few hues, an edge."""
    light = _soft(count, 1, (2, 5, 11), (0.2, 0.08, 0.03))
    hue = _soft(count, 3, (2, 3), (0.12, 0.05)) + 0.15 * torch.randn(count, 3, 1, 1)
    things = (_soft(count, 1, (4,), (1.0,)) > 0.5) * 0.2 * torch.randn(count, 3, 1, 1)
    grain = 0.03 * torch.rand(count, 1, 1, 1) * torch.randn(count, 3, SIDE, SIDE)
    level = 0.25 + 0.5 * torch.rand(count, 1, 1, 1)
    return (level + light + hue + things + grain).clamp(0, 1)


def _soft(
    count: int, channels: int, cells: tuple[int, ...], strengths: tuple[float, ...]
) -> Tensor:
    """Noise of several grains, each smoothly enlarged, [count, channels, SIDE, SIDE]."""
    grains = [
        strength * F.interpolate(torch.randn(count, channels, n, n), size=SIDE, mode="bicubic")
        for n, strength in zip(cells, strengths, strict=True)
    ]
    return torch.stack(grains).sum(dim=0)
