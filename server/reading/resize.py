"""Rendered pixels -> exactly the size that was asked for, without stretching what was drawn.

Pure functions on arrays of shape (height, width, 3 or 4), to be called off the event loop.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from server.reading.sizes import Size

Pixels = NDArray[np.uint8]

_MOST_CUT = 1 / 8
"""Rounding to a model's multiples changes the shape a little, and the excess is cut. A model that
cannot draw a shape at all draws a nearer one, of which so much must not be lost."""


def fit(pixels: Pixels, size: Size) -> Pixels:
    """The picture in the size: cut to its shape, or continued to it where too much would be cut."""
    have = pixels.shape[1], pixels.shape[0]
    if have == size:
        return pixels
    stretch = (size[0] / have[0]) / (size[1] / have[1])
    if min(stretch, 1 / stretch) >= 1 - _MOST_CUT:
        return _resized(pixels, size, _middle(have, size))
    scale = min(size[0] / have[0], size[1] / have[1])
    inside = max(1, round(have[0] * scale)), max(1, round(have[1] * scale))
    return _continued(_resized(pixels, inside, (0, 0, *have)), size)


def _resized(pixels: Pixels, size: Size, box: tuple[float, float, float, float]) -> Pixels:
    return np.asarray(Pillow.fromarray(pixels).resize(size, Pillow.Resampling.LANCZOS, box))


def _middle(have: Size, want: Size) -> tuple[float, float, float, float]:
    scale = min(have[0] / want[0], have[1] / want[1])
    width, height = want[0] * scale, want[1] * scale
    left, top = (have[0] - width) / 2, (have[1] - height) / 2
    return left, top, left + width, top + height


def _continued(pixels: Pixels, size: Size) -> Pixels:
    """In the middle of the size, its edges repeated outwards."""
    across, down = size[0] - pixels.shape[1], size[1] - pixels.shape[0]
    margins = ((down // 2, down - down // 2), (across // 2, across - across // 2), (0, 0))
    return np.pad(pixels, margins, mode="edge")
