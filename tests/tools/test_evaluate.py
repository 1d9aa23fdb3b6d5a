"""The sets of prompts that the demo model is measured with, and the measure of roundness."""

import random

import torch

from tools.train_demo.evaluate import HELD_OUT_PHRASINGS, held_out_phrasings, large_circles
from tools.train_demo.measure import unroundness
from tools.train_demo.raster import render
from tools.train_demo.scenes import Scene, Shape, lay_out


def test_held_out_phrasings_name_a_background_in_both_languages() -> None:
    asked = held_out_phrasings(28, seed=0)
    assert all(scene.background for scene, _, _ in asked)
    assert {language for _, _, language in asked} == set(HELD_OUT_PHRASINGS)
    assert len({text for _, text, _ in asked}) == 28
    assert held_out_phrasings(28, seed=0) == asked != held_out_phrasings(28, seed=1)


def test_rendered_circles_are_round_and_ellipses_and_squares_are_not() -> None:
    scenes = [scene for scene, _, _ in large_circles()]
    assert len(set(scenes)) == 90
    images = render(lay_out(scenes[::9], random.Random(3)))
    pairs = zip(images, scenes[::9], strict=True)
    assert all(unroundness(image, scene) < 0.005 for image, scene in pairs)
    wider = torch.nn.functional.interpolate(images[:1], size=(256, 280), mode="bilinear")
    assert 0.03 < unroundness(wider[0, :, :, 12:268], scenes[0]) < 0.06
    square = Scene("white", (Shape("square", "red", "large", None),))
    [image] = render(lay_out([square], random.Random(4)))
    assert unroundness(image, square) > 0.1


def test_an_image_without_a_shape_is_not_round() -> None:
    circle = Scene("white", (Shape("circle", "red", "large", None),))
    assert unroundness(torch.ones(3, 64, 64), circle) == float("inf")
