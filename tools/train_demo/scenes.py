"""What the demo model draws: one or two coloured shapes on a plain background."""

import random
import zlib
from dataclasses import dataclass

import torch
from torch import Tensor

COLOURS = {
    "red": (220, 25, 35),
    "orange": (255, 135, 0),
    "yellow": (255, 225, 30),
    "green": (30, 150, 60),
    "blue": (30, 80, 220),
    "purple": (130, 40, 170),
    "pink": (255, 150, 200),
    "white": (255, 255, 255),
    "black": (15, 15, 15),
    "brown": (120, 70, 30),
}
KINDS = ("circle", "square", "triangle", "star", "heart", "ring", "cross", "diamond")
SIZES = ("small", "medium", "large")
PLACES = ("centre", "left", "right", "top", "bottom")

RADIUS = (
    {"small": 0.11, "medium": 0.17, "large": 0.25},
    {"small": 0.105, "medium": 0.15, "large": 0.20},
)
OFFSET = (
    {"small": 0.25, "medium": 0.24, "large": 0.19},
    {"small": 0.25, "medium": 0.25, "large": 0.25},
)
STEP = {"centre": (0, 0), "left": (-1, 0), "right": (1, 0), "top": (0, -1), "bottom": (0, 1)}
PAIRS = (("left", "right"), ("top", "bottom"))
MAX_SHAPES = 2
EXPECTED = ("white", "black", "blue")  # a background that nobody named, the first not in use
PAIR_SHARE = 0.4
HELD_OUT_ONE_IN = 10


@dataclass(frozen=True)
class Shape:
    """One shape; None for what a prompt leaves unsaid."""

    kind: str | None
    colour: str | None
    size: str | None
    place: str | None


@dataclass(frozen=True)
class Scene:
    """A background and one shape, or two: the left or the upper one first."""

    background: str | None
    shapes: tuple[Shape, ...]

    @property
    def expected(self) -> bool:
        """Whether its background is what a prompt gets that names none."""
        used = {shape.colour for shape in self.shapes}
        return self.background == next(colour for colour in EXPECTED if colour not in used)

    @property
    def held_out(self) -> bool:
        """Whether training never sees this combination of attributes."""
        return zlib.crc32(repr(self).encode()) % HELD_OUT_ONE_IN == 0


@dataclass
class Layout:
    """Scenes as numbers, lengths as fractions of the side; radius 0 where there is no shape."""

    background: Tensor  # [B, 3], 0..1
    colour: Tensor  # [B, S, 3], 0..1
    kind: Tensor  # [B, S]
    centre: Tensor  # [B, S, 2], x and y
    radius: Tensor  # [B, S]
    angle: Tensor  # [B, S], radians


def random_scene(rng: random.Random, pair_share: float = PAIR_SHARE) -> Scene:
    """A complete scene, every attribute drawn evenly; no shape has the background's colour."""
    background, *colours = rng.sample(list(COLOURS), 3)
    if rng.random() >= pair_share:
        return Scene(background, (_random_shape(rng, colours[0], rng.choice(PLACES)),))
    if rng.random() < 0.1:
        colours[1] = colours[0]
    pair = zip(colours, rng.choice(PAIRS), strict=True)
    return Scene(background, tuple(_random_shape(rng, colour, place) for colour, place in pair))


def _random_shape(rng: random.Random, colour: str, place: str) -> Shape:
    return Shape(rng.choice(KINDS), colour, rng.choice(SIZES), place)


def training_scene(rng: random.Random, pair_share: float = PAIR_SHARE) -> Scene:
    """A random scene that is not held out."""
    while (scene := random_scene(rng, pair_share)).held_out:
        pass
    return scene


def lay_out(scenes: list[Scene], rng: random.Random) -> Layout:
    """Gives every shape its centre and radius, with a little jitter, as a Layout of B scenes."""
    rows = [[_numbers(scene, slot, rng) for slot in range(MAX_SHAPES)] for scene in scenes]
    table = torch.tensor(rows)  # [B, S, 8]
    background = torch.tensor([COLOURS[scene.background or "white"] for scene in scenes]) / 255
    return Layout(
        background,
        table[..., :3],
        table[..., 3].long(),
        table[..., 4:6],
        table[..., 6],
        table[..., 7],
    )


def _numbers(scene: Scene, slot: int, rng: random.Random) -> list[float]:
    if slot >= len(scene.shapes):
        return [0.0] * 8
    shape, crowd = scene.shapes[slot], len(scene.shapes) - 1
    size, place = shape.size or "medium", shape.place or "centre"
    colour = [value / 255 for value in COLOURS[shape.colour or "red"]]
    x, y = (0.5 + step * OFFSET[crowd][size] + rng.uniform(-0.015, 0.015) for step in STEP[place])
    radius = RADIUS[crowd][size] * rng.uniform(0.94, 1.06)
    return [*colour, KINDS.index(shape.kind or "circle"), x, y, radius, rng.uniform(-0.04, 0.04)]
