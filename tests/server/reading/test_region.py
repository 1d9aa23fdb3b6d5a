"""What is repainted, what stays, and that it stays to the bit."""

from typing import Any

import numpy as np
import pytest

from pipelines.core import Image
from server.errors import InvalidMask
from server.reading.region import Canvas, canvas_of, whole_canvas
from tests.server.pictures import left_half_clear, noise, picture, with_alpha

RGB = noise()
CLEAR_LEFT = left_half_clear()


def flat(size: tuple[int, int], colour: tuple[int, int, int] = (0, 255, 0)) -> Image:
    """What a job might have made."""
    return Image(*size, bytes(colour) * (size[0] * size[1]))


def hole(width: int, height: int, box: tuple[int, int, int, int]) -> Any:
    """An alpha that is transparent in a box."""
    alpha = np.full((height, width), 255, np.uint8)
    left, top, right, bottom = box
    alpha[top:bottom, left:right] = 0
    return alpha


def mask_of(alpha: Any) -> Any:
    return picture(np.zeros((*alpha.shape, 3), np.uint8), alpha)


def test_transparent_is_repainted_and_opaque_stays_to_the_bit() -> None:
    canvas = canvas_of(picture(RGB), mask_of(CLEAR_LEFT), None)
    painted = canvas.paint(flat((80, 48)))
    assert canvas.size == (96, 64)
    assert (painted[:, 48:] == RGB[:, 48:]).all()
    assert (painted[:, :48] == (0, 255, 0)).all()


def test_a_job_repaints_white() -> None:
    canvas = canvas_of(picture(RGB), mask_of(CLEAR_LEFT), None)
    mask = canvas.mask((96, 64))
    assert mask is not None
    white = np.frombuffer(mask, np.uint8).reshape(64, 96)
    assert (white[:, :48] == 255).all() and (white[:, 48:] == 0).all()
    assert canvas.source((96, 64)).pixels == RGB.tobytes()


def test_soft_alpha_is_a_soft_edge() -> None:
    alpha = np.full((64, 96), 255, np.uint8)
    alpha[:, :20], alpha[:, 20] = 0, 64
    black = np.zeros((64, 96, 3), np.uint8)
    painted = canvas_of(picture(black), mask_of(alpha), None).paint(flat((96, 64), (200, 200, 200)))
    assert painted[0, [19, 20, 21], 0].tolist() == [200, round(200 * 191 / 255), 0]


def test_without_a_mask_the_transparency_of_the_picture_is_the_mask() -> None:
    canvas = canvas_of(picture(RGB, CLEAR_LEFT), None, None)
    painted = canvas.paint(flat((96, 64)))
    assert (painted[:, 48:] == RGB[:, 48:]).all()
    assert (painted[:, :48] == (0, 255, 0)).all()


def test_without_any_transparency_the_whole_picture_is_remade() -> None:
    for alpha in (None, np.full((64, 96), 255, np.uint8), np.full((64, 96), 200, np.uint8)):
        canvas = canvas_of(picture(RGB, alpha), None, None)
        assert canvas.repaint is None and canvas.mask((64, 48)) is None
        assert (canvas.paint(flat((64, 48))) == (0, 255, 0)).all()


def test_the_mask_counts_and_not_the_transparency_of_its_picture() -> None:
    canvas = canvas_of(picture(RGB, CLEAR_LEFT), mask_of(CLEAR_LEFT[:, ::-1]), None)
    painted = canvas.paint(flat((96, 64)))
    assert (painted[:, 48:] == (0, 255, 0)).all()


def source_of(canvas: Canvas, size: tuple[int, int] = (96, 64)) -> Any:
    return np.frombuffer(canvas.source(size).pixels, np.uint8).reshape(size[1], size[0], 3)


def test_what_cannot_be_seen_does_not_leak() -> None:
    secret = RGB.copy()
    secret[:, :48] = (255, 0, 255)
    source = source_of(canvas_of(picture(secret, CLEAR_LEFT), None, None))
    assert (source[:, 48:] == RGB[:, 48:]).all()
    assert (source[:, :48] == 255).all()
    nothing = picture(secret, np.zeros((64, 96), np.uint8))
    for canvas in (canvas_of(nothing, None, None), whole_canvas(nothing, None)):
        assert set(canvas.source((96, 64)).pixels) == {255}
    for size in (None, (48, 32)):
        kept = canvas_of(picture(secret, CLEAR_LEFT), mask_of(MIDDLE), size, transparent=True)
        painted = kept.paint(flat((96, 64)))
        assert (painted[painted[..., 3] == 0][:, :3] == 255).all()


MIDDLE = hole(96, 64, (60, 20, 80, 40))


def drawing(colour: tuple[int, ...], soft: bool = False) -> tuple[Any, Any]:
    """A bar of one colour on a transparent ground, whose hidden pixels are red."""
    rgb, alpha = np.full((64, 96, 3), (255, 0, 0), np.uint8), np.zeros((64, 96), np.uint8)
    rgb[20:40, 10:90], alpha[20:40, 10:90] = colour, 255
    if soft:
        rgb[19:41, 9:91], alpha[19, 9:91] = colour, 128
        alpha[40, 9:91] = 64
    return rgb, alpha


GROUNDS = [
    ((0, 0, 0), 255),
    ((200, 30, 30), 255),
    ((127, 127, 127), 255),
    ((255, 255, 0), 255),
    ((255, 255, 255), 0),
    ((240, 245, 250), 0),
]


@pytest.mark.parametrize(("colour", "ground"), GROUNDS)
@pytest.mark.parametrize("soft", [False, True])
def test_a_drawing_of_one_colour_stands_out(
    colour: tuple[int, ...], ground: int, soft: bool
) -> None:
    drawn = picture(*drawing(colour, soft))
    for canvas in (
        whole_canvas(drawn, None),
        canvas_of(drawn, None, None),
        canvas_of(drawn, mask_of(MIDDLE), None, crop=False),
    ):
        source = source_of(canvas)
        assert (source[30, 50] == colour).all()
        assert (source[0, 0] == ground).all() and (source[63, 95] == ground).all()
        if soft:
            half = [(it + ground) / 2 for it in colour]
            assert np.abs(source[19, 50] - half).max() <= 1
        assert np.abs(source[30, 50].astype(int) - source[0, 0]).max() >= 32


def test_white_with_an_outline_stays_on_white() -> None:
    rgb, alpha = drawing((255, 255, 255))
    rgb[18:42, 8:92] = np.where(alpha[18:42, 8:92, None] == 255, 255, 0)
    alpha[18:42, 8:92] = 255
    source = source_of(whole_canvas(picture(rgb, alpha), None))
    assert (source[0, 0] == 255).all() and (source[18, 50] == 0).all()


def test_white_beside_black_is_on_grey() -> None:
    rgb, alpha = drawing((255, 255, 255))
    rgb[:, 62:] = 0  # the smaller part, so that white would show less than half of the outline
    assert (source_of(whole_canvas(picture(rgb, alpha), None))[0, 0] == 127).all()


def test_soft_edges_keep_their_colour_where_they_are_kept() -> None:
    """Composed on white before they are blended, they would have a white fringe."""
    black = picture(*drawing((0, 0, 0), soft=True))
    painted = canvas_of(black, None, None).paint(flat((96, 64), (200, 200, 200)))
    assert painted[[19, 40], 50, 0].tolist() == [round(200 * 127 / 255), round(200 * 191 / 255)]
    kept = canvas_of(black, mask_of(MIDDLE), None, transparent=True).paint(flat((96, 64)))
    assert kept[[19, 40], 50].tolist() == [[0, 0, 0, 128], [0, 0, 0, 64]]
    for size in ((48, 32), (192, 128)):
        canvas = canvas_of(black, mask_of(MIDDLE), size, transparent=True)
        painted = canvas.paint(flat((96, 64)))
        visible = (painted[..., 3] > 16) & (canvas.repaint == 0)
        assert painted[visible][:, :3].max() <= 8
    opaque = canvas_of(black, mask_of(MIDDLE), None).paint(flat((96, 64)))
    assert (opaque[0, 0] == 255).all() and (opaque[19, 50] == 127).all()


def test_colours_are_blended_as_far_as_they_are_visible() -> None:
    rgb, alpha = drawing((0, 0, 0))
    mask = np.full((64, 96), 255, np.uint8)
    mask[:10], mask[10:12] = 0, 100  # a soft edge over hidden pixels
    canvas = canvas_of(picture(rgb, alpha), mask_of(mask), None, crop=False, transparent=True)
    painted = canvas.paint(flat((96, 64), (0, 200, 0)))
    assert painted[[5, 10, 15], 50].tolist() == [
        [0, 200, 0, 255], [0, 200, 0, 155], [255, 255, 255, 0],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (picture(RGB), "mask image missing alpha channel"),
        (mask_of(np.zeros((64, 95), np.uint8)), "size does not match image size: 95x64"),
        (mask_of(np.full((64, 96), 255, np.uint8)), "no transparent pixel"),
        (mask_of(np.full((64, 96), 128, np.uint8)), "no transparent pixel"),
    ],
)
def test_masks_that_are_none(mask: Any, says: str) -> None:
    with pytest.raises(InvalidMask, match=says) as caught:
        canvas_of(picture(RGB), mask, None)
    assert caught.value.param == "mask"


SMALL = hole(800, 600, (100, 200, 140, 220))


def big() -> Any:
    return noise(800, 600)


def test_a_small_region_is_rendered_with_its_surroundings_alone() -> None:
    rgb = big()
    canvas = canvas_of(picture(rgb), mask_of(SMALL), None)
    left, top, right, bottom = canvas.box
    assert left < 100 and top < 200 and right > 140 and bottom > 220
    assert (right - left) * (bottom - top) < 800 * 600 / 8
    assert max(canvas.rendered) <= 2 * min(canvas.rendered)
    painted = canvas.paint(flat((64, 64)))
    changed = (painted != rgb).any(axis=-1)
    assert changed[200:220, 100:140].mean() > 0.9
    changed[200:220, 100:140] = False
    assert not changed.any()
    source = np.frombuffer(canvas.source(canvas.rendered).pixels, np.uint8)
    assert (source == rgb[top:bottom, left:right].ravel()).all()


def test_cropping_can_be_switched_off() -> None:
    assert canvas_of(picture(big()), mask_of(SMALL), None, crop=False).box == (0, 0, 800, 600)


@pytest.mark.parametrize(
    "box",
    [(0, 0, 1, 1), (799, 599, 800, 600), (0, 599, 800, 600), (0, 0, 1, 600), (400, 0, 401, 1)],
)
def test_surroundings_end_at_the_edges(box: tuple[int, int, int, int]) -> None:
    canvas = canvas_of(picture(big()), mask_of(hole(800, 600, box)), None)
    left, top, right, bottom = canvas.box
    assert 0 <= left <= box[0] < box[2] <= right <= 800
    assert 0 <= top <= box[1] < box[3] <= bottom <= 600
    assert canvas.paint(flat((64, 64))).shape == (600, 800, 3)


def test_a_large_region_is_rendered_with_the_whole_picture() -> None:
    mask = mask_of(hole(800, 600, (100, 100, 700, 500)))
    assert canvas_of(picture(big()), mask, None).box == (0, 0, 800, 600)


def test_another_size_is_that_of_everything() -> None:
    canvas = canvas_of(picture(RGB), mask_of(CLEAR_LEFT), (192, 128))
    assert canvas.size == (192, 128)
    painted = canvas.paint(flat((64, 48)))
    assert painted.shape == (128, 192, 3)
    assert (painted[:, :80] == (0, 255, 0)).all()
    assert (painted[:, 112:] != (0, 255, 0)).any(axis=-1).all()
    assert whole_canvas(picture(RGB), (50, 50)).paint(flat((64, 64))).shape == (50, 50, 3)


def test_a_region_that_the_size_cuts_off_is_none() -> None:
    mask = mask_of(hole(110, 100, (0, 0, 3, 100)))
    with pytest.raises(InvalidMask, match="the size asked for"):
        canvas_of(picture(noise(110, 100)), mask, (100, 100))


def test_a_picture_of_one_pixel() -> None:
    one = picture(noise(1, 1), np.zeros((1, 1), np.uint8))
    canvas: Canvas = canvas_of(one, None, None)
    assert canvas.rendered == (1, 1)
    assert canvas.paint(flat((64, 64))).tolist() == [[[0, 255, 0]]]
    assert canvas.mask((64, 64)) == b"\xff" * 64 * 64


def test_nothing_is_changed_in_place() -> None:
    rgba = with_alpha(RGB, CLEAR_LEFT)
    before = rgba.copy()
    canvas = canvas_of(picture(RGB, CLEAR_LEFT), None, None)
    first = canvas.paint(flat((96, 64), (1, 2, 3)))
    canvas.paint(flat((96, 64), (9, 9, 9)))
    assert (rgba == before).all()
    assert (first[:, :48] == (1, 2, 3)).all()
