"""Measures what an image shows, by its colours and outlines alone: no learned judge."""

import math
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from .raster import DISTANCES
from .scenes import COLOURS, KINDS, RADIUS, Scene, Shape

SIDE = 128  # images are measured at this side
LEAST_AREA = 0.004  # of the image: smaller blobs are specks
OFF_CENTRE = 0.1
RAYS = 360  # along which the radius of a circle is measured
RAY_STEP = 0.0005  # of the side


@dataclass
class Blob:
    """A connected region that is not background, lengths as fractions of the side."""

    colour: str
    kind: str
    overlap: float  # intersection over union with the best outline
    radius: float
    x: float
    y: float

    @property
    def place(self) -> str:
        """The place its middle lies in."""
        x, y = self.x - 0.5, self.y - 0.5
        if max(abs(x), abs(y)) < OFF_CENTRE:
            return "centre"
        if abs(x) > abs(y):
            return "left" if x < 0 else "right"
        return "top" if y < 0 else "bottom"

    def size(self, crowd: int) -> str:
        """The nearest size, among those of scenes with crowd other shapes."""
        return min(RADIUS[crowd], key=lambda name: abs(RADIUS[crowd][name] - self.radius))


@dataclass
class Seen:
    """What an image shows: its background and its blobs, the left or upper one first."""

    background: str
    blobs: list[Blob]

    def as_scene(self) -> Scene:
        """The same in the words of a scene."""
        crowd = min(max(len(self.blobs), 1), 2) - 1
        shapes = (
            Shape(blob.kind, blob.colour, blob.size(crowd), blob.place) for blob in self.blobs
        )
        return Scene(self.background, tuple(shapes))


def palette_indices(images: Tensor) -> Tensor:
    """The nearest palette colour of every pixel, [B, SIDE, SIDE]; images [B, 3, H, W] in -1..1."""
    small = F.interpolate(images.float(), size=(SIDE, SIDE), mode="area")
    palette = torch.tensor(list(COLOURS.values())) / 127.5 - 1
    distances = [(small - colour[:, None, None]).square().sum(dim=1) for colour in palette]
    return torch.stack(distances, dim=1).argmin(dim=1)


def regions(mask: Tensor) -> Tensor:
    """A number for each connected region of masks [B, H, W], 0 outside."""
    _, height, width = mask.shape
    numbers = torch.arange(1, height * width + 1, dtype=torch.float32).view(1, height, width) * mask
    while True:
        grown = F.max_pool2d(numbers, 3, 1, 1) * mask
        if torch.equal(grown, numbers):
            return numbers.long()
        numbers = grown


@cache
def axis() -> Tensor:
    """Pixel centres along a side, as fractions."""
    return (torch.arange(SIDE) + 0.5) / SIDE


@cache
def unit_outline(kind: int) -> tuple[float, float]:
    """The area of a kind at radius 1, and how far below its origin the centroid lies."""
    line = (torch.arange(600) + 0.5) / 200 - 1.5
    y, x = torch.meshgrid(line, line, indexing="ij")
    inside = DISTANCES[kind](x, y) < 0
    return inside.float().mean().item() * 9, y[inside].mean().item()


def overlap(mask: Tensor, kind: int, x: float, y: float) -> tuple[float, float]:
    """How well a kind's outline of the mask's area and centroid covers it, and its radius."""
    area, below = unit_outline(kind)
    radius = (mask.float().mean().item() / area) ** 0.5
    across = ((axis() - x) / radius).expand(SIDE, SIDE)
    down = ((axis() - y) / radius + below)[:, None].expand(SIDE, SIDE)
    outline = DISTANCES[kind](across, down) < 0
    return ((outline & mask).sum() / (outline | mask).sum()).item(), radius


def measure_blob(mask: Tensor, indices: Tensor) -> Blob:
    """What a region [SIDE, SIDE] of an image of palette indices shows."""
    x = (mask.float().mean(dim=0) * axis()).sum().item() / mask.float().mean(dim=0).sum().item()
    y = (mask.float().mean(dim=1) * axis()).sum().item() / mask.float().mean(dim=1).sum().item()
    fits = [overlap(mask, kind, x, y) for kind in range(len(KINDS))]
    kind = max(range(len(KINDS)), key=lambda index: fits[index][0])
    colour = list(COLOURS)[int(indices[mask].bincount().argmax())]
    return Blob(colour, KINDS[kind], *fits[kind], x, y)


def measure(images: Tensor) -> list[Seen]:
    """What each image [B, 3, H, W] in -1..1 shows."""
    indices = palette_indices(images)
    frame = torch.cat([indices[:, 0], indices[:, -1], indices[:, :, 0], indices[:, :, -1]], dim=1)
    grounds = frame.mode(dim=1).values
    numbered = regions(indices != grounds[:, None, None])
    return [_seen(*found) for found in zip(indices, grounds.tolist(), numbered, strict=True)]


def _seen(indices: Tensor, ground: int, numbers: Tensor) -> Seen:
    sizes = numbers.flatten().bincount()
    large = [number for number in range(1, len(sizes)) if sizes[number] > LEAST_AREA * SIDE**2]
    blobs = [measure_blob(numbers == number, indices) for number in large]
    upright = len(blobs) == 2 and abs(blobs[0].y - blobs[1].y) > abs(blobs[0].x - blobs[1].x)
    blobs.sort(key=lambda blob: blob.y if upright else blob.x)
    return Seen(list(COLOURS)[ground], blobs)


def verdict(said: Scene, seen: Seen) -> dict[str, bool]:
    """Which of the things that were said came out right; things unsaid are left out."""
    shown = seen.as_scene()
    found = {"count": len(shown.shapes) == len(said.shapes)}
    if said.background:
        found["background"] = shown.background == said.background
    for name in ("colour", "kind", "size", "place"):
        wanted = [getattr(shape, name) for shape in said.shapes]
        got = [getattr(shape, name) for shape in shown.shapes]
        if any(wanted):
            pairs = zip(wanted, got, strict=False)
            found[name] = found["count"] and all(ask in (None, answer) for ask, answer in pairs)
    return found


def unroundness(image: Tensor, said: Scene) -> float:
    """Return the largest deviation of a circle's radius from its mean, as a fraction of the mean.

    The image [3, S, S] in -1..1 shows one shape. Its edge lies, on each ray from its centroid,
    where the colour is halfway from the background's to its own. Without a shape: infinity.
    """
    cover = _coverage(image, said)
    side, total = len(cover), cover.sum().item()
    line = (torch.arange(side) + 0.5) / side
    if total < LEAST_AREA * side**2:
        return math.inf
    x = (cover.sum(dim=0) * line).sum().item() / total
    y = (cover.sum(dim=1) * line).sum().item() / total
    angles = torch.arange(RAYS)[:, None] * (2 * math.pi / RAYS)
    radii = torch.arange(0, 0.5, RAY_STEP)
    points = torch.stack([x + radii * angles.cos(), y + radii * angles.sin()], dim=-1) * 2 - 1
    inside = F.grid_sample(cover[None, None], points[None], align_corners=False)[0, 0] > 0.5
    edge = radii[(~inside).float().argmax(dim=1)]
    return ((edge - edge.mean()).abs().max() / edge.mean()).item() if edge.mean() else math.inf


def _coverage(image: Tensor, said: Scene) -> Tensor:
    """How far each pixel is from the background's colour to the shape's, 0..1."""
    ground, colour = (
        torch.tensor(COLOURS[name or "white"])[:, None, None] / 127.5 - 1
        for name in (said.background, said.shapes[0].colour)
    )
    span = colour - ground
    return ((image.float() - ground) * span).sum(dim=0).div(span.square().sum()).clamp(0, 1)
