"""Scenes are drawn as they are described: the measurement reads every one back."""

import random

import torch

from tools.train_demo.measure import measure, verdict
from tools.train_demo.raster import SIDE, grid, render
from tools.train_demo.scenes import (
    COLOURS,
    KINDS,
    PLACES,
    SIZES,
    Scene,
    Shape,
    lay_out,
    random_scene,
    training_scene,
)


def test_the_measurement_reads_rendered_scenes_back() -> None:
    rng = random.Random(1)
    scenes = [random_scene(rng) for _ in range(24)]
    assert [seen.as_scene() for seen in measure(render(lay_out(scenes, rng)))] == scenes


def test_every_kind_and_size_and_place_is_told_apart() -> None:
    rng = random.Random(2)
    shapes = [
        Shape(kind, "red", size, PLACES[index % 5])
        for index, kind in enumerate(KINDS)
        for size in SIZES
    ]
    scenes = [Scene("yellow", (shape,)) for shape in shapes]
    assert [seen.as_scene() for seen in measure(render(lay_out(scenes, rng)))] == scenes


def test_a_wrong_picture_is_judged_wrong() -> None:
    asked = Scene("blue", (Shape("star", "red", None, None),))
    drawn = Scene("blue", (Shape("star", "green", "large", "left"),))
    [seen] = measure(render(lay_out([drawn], random.Random(0))))
    assert verdict(asked, seen) == {
        "count": True,
        "background": True,
        "colour": False,
        "kind": True,
    }


def test_a_blank_picture_is_judged_and_no_error() -> None:
    [seen] = measure(torch.ones(1, 3, 64, 64))
    assert seen.background == "white"
    assert seen.blobs == []


def test_a_window_is_a_part_of_the_whole() -> None:
    rng = random.Random(3)
    layout = lay_out([random_scene(rng)], rng)
    corner = torch.tensor([32, 16]) / SIDE
    assert torch.allclose(render(layout, grid(64) + corner), render(layout)[:, :, 16:80, 32:96])


def test_training_never_sees_what_is_held_out() -> None:
    rng = random.Random(4)
    assert not any(training_scene(rng).held_out for _ in range(200))
    share = sum(random_scene(rng).held_out for _ in range(2000)) / 2000
    assert 0.07 < share < 0.13


def test_shapes_are_never_the_colour_of_their_background() -> None:
    rng = random.Random(5)
    for scene in (random_scene(rng) for _ in range(500)):
        assert scene.background in COLOURS
        assert all(shape.colour != scene.background for shape in scene.shapes)
