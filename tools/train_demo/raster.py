"""Draws layouts by signed distance: anti-aliased, in batches, whole images or windows of them."""

import math

import torch
from torch import Tensor

from .scenes import KINDS, Layout

SIDE = 256  # the native image, pixels

RING_WIDTH = 0.22
CROSS_ARM = 0.36
STAR_OUTER, STAR_INNER = 1.2, 0.52
HEART_SCALE = 0.58


def circle(x: Tensor, y: Tensor) -> Tensor:
    """Distance to the unit disc; all of these take x and y in radii, y downward."""
    return torch.hypot(x, y) - 1


def square(x: Tensor, y: Tensor) -> Tensor:
    """Distance to a square."""
    return torch.maximum(x.abs(), y.abs()) - 0.86


def triangle(x: Tensor, y: Tensor) -> Tensor:
    """Distance to a triangle that points up."""
    side = (x.abs() * 1.75 - (y + 1.15)) / math.hypot(1.75, 1)
    return torch.maximum(side, y - 0.6)


def star(x: Tensor, y: Tensor) -> Tensor:
    """Distance to a five-pointed star, folded into half of one of its points."""
    sector = 2 * math.pi / 5
    angle = (torch.remainder(torch.atan2(x, -y) + sector / 2, sector) - sector / 2).abs()
    distance = torch.hypot(x, y)
    dx = STAR_INNER * math.cos(sector / 2) - STAR_OUTER
    dy = STAR_INNER * math.sin(sector / 2)
    across = distance * torch.sin(angle) * -dx + (distance * torch.cos(angle) - STAR_OUTER) * dy
    return across / math.hypot(dx, dy)


def heart(x: Tensor, y: Tensor) -> Tensor:
    """Distance to a heart: two round lobes above a right-angled tip."""
    x, y = x.abs() * HEART_SCALE, 0.56 - y * HEART_SCALE
    lobe = torch.hypot(x - 0.25, y - 0.75) - math.sqrt(2) / 4
    corner = torch.hypot(x, y - 1)
    along = 0.5 * (x + y).clamp(min=0)
    edge = torch.minimum(corner, torch.hypot(x - along, y - along)) * torch.sign(x - y)
    return torch.where(x + y > 1, lobe, edge) / HEART_SCALE


def ring(x: Tensor, y: Tensor) -> Tensor:
    """Distance to a ring."""
    return (torch.hypot(x, y) - (1 - RING_WIDTH)).abs() - RING_WIDTH


def cross(x: Tensor, y: Tensor) -> Tensor:
    """Distance to an upright cross of equal arms."""
    x, y = x.abs(), y.abs()
    across = torch.maximum(x - 1.05, y - CROSS_ARM)
    return torch.minimum(across, torch.maximum(y - 1.05, x - CROSS_ARM))


def diamond(x: Tensor, y: Tensor) -> Tensor:
    """Distance to a rhombus taller than wide."""
    return (x.abs() * 1.2 + y.abs() * 0.8 - 0.96) / math.hypot(1.2, 0.8)


DISTANCES = (circle, square, triangle, star, heart, ring, cross, diamond)
assert tuple(distance.__name__ for distance in DISTANCES) == KINDS


def grid(side: int = SIDE) -> Tensor:
    """Pixel centres of a whole image as fractions of its side, [side, side, 2] (x, y)."""
    line = (torch.arange(side) + 0.5) / SIDE
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y], dim=-1)


def coverage(layout: Layout, points: Tensor) -> Tensor:
    """How much of each pixel each shape covers, [B, S, H, W]; points [H, W, 2] or [B, H, W, 2]."""
    batch, slots = layout.kind.shape
    radius = layout.radius.clamp(min=1e-4)[..., None, None]
    points = points.expand(batch, *points.shape[-3:]).unsqueeze(1)
    offset = points - layout.centre[:, :, None, None]
    cos, sin = layout.angle.cos()[..., None, None], layout.angle.sin()[..., None, None]
    x = (offset[..., 0] * cos + offset[..., 1] * sin) / radius
    y = (offset[..., 1] * cos - offset[..., 0] * sin) / radius
    distance = torch.full_like(x, 1e4)
    for index in layout.kind[layout.radius > 0].unique().tolist():
        chosen = (layout.kind == index) & (layout.radius > 0)
        distance[chosen] = DISTANCES[index](x[chosen], y[chosen])
    return (0.5 - distance * radius * SIDE).clamp(0, 1)


def paint(canvas: Tensor, layout: Layout, points: Tensor) -> Tensor:
    """Lays the shapes over a canvas [B, 3, H, W] in 0..1, in order; returns the same shape."""
    cover = coverage(layout, points).unsqueeze(2)
    for slot in range(cover.shape[1]):
        canvas = canvas.lerp(
            layout.colour[:, slot, :, None, None].expand_as(canvas), cover[:, slot]
        )
    return canvas


def render(layout: Layout, points: Tensor | None = None) -> Tensor:
    """Images [B, 3, H, W] in -1..1 of the whole layouts, or at points [B, H, W, 2]."""
    points = grid() if points is None else points
    height, width = points.shape[-3:-1]
    canvas = layout.background[:, :, None, None].expand(-1, -1, height, width)
    return paint(canvas, layout, points) * 2 - 1
