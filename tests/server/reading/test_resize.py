"""The size asked for, exactly, and nothing stretched."""

import numpy as np
import pytest

from server.reading.resize import Pixels, fit


def disc(width: int, height: int) -> Pixels:
    """White on a grey that is its own at each edge."""
    y, x = np.mgrid[0:height, 0:width]
    inside = (x - width / 2 + 0.5) ** 2 + (y - height / 2 + 0.5) ** 2 < (height / 3) ** 2
    return np.where(inside[..., None], 255, 40).astype(np.uint8).repeat(3, axis=2)


def extent(pixels: Pixels) -> tuple[int, int]:
    bright = pixels[..., 0] > 128
    return int(np.ptp(np.flatnonzero(bright.any(0)))), int(np.ptp(np.flatnonzero(bright.any(1))))


def test_the_size_that_is_there_is_left_alone() -> None:
    pixels = disc(64, 48)
    assert fit(pixels, (64, 48)) is pixels


@pytest.mark.parametrize(
    ("have", "want"),
    [
        ((256, 256), (1024, 1024)),
        ((352, 192), (1792, 1024)),
        ((256, 256), (1792, 1024)),
        ((256, 256), (333, 2000)),
        ((256, 256), (64, 64)),
        ((1024, 256), (2048, 64)),
    ],
)
def test_a_circle_stays_round_at_exactly_the_size(
    have: tuple[int, int], want: tuple[int, int]
) -> None:
    pixels = fit(disc(*have), want)
    assert pixels.shape == (want[1], want[0], 3)
    width, height = extent(pixels)
    assert width == pytest.approx(height, abs=2 + 0.02 * height)


def test_what_a_model_could_not_draw_wider_is_whole_and_its_edges_go_on() -> None:
    pixels = np.zeros((256, 256, 3), np.uint8)
    pixels[:, :128], pixels[:, 128:] = 10, 200
    wide = fit(pixels, (512, 256))
    assert (wide[:, :250] == 10).all()
    assert (wide[:, 262:] == 200).all()
    assert (wide[:, 128:384] == pixels).all()
