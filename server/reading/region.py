"""Which part of a picture is repainted: transparency -> a `Canvas`, and what is made of it.

A canvas has the delivered size. It gives a job its source and mask, and puts the job's image back
into the picture. Pure functions of arrays; knows nothing of requests or models.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image as Pillow

from pipelines.core import Image
from server.errors import InvalidMask
from server.reading.resize import Pixels, fit
from server.reading.sizes import Size
from server.reading.uploads import Picture

Box = tuple[int, int, int, int]
"""left, top, right, bottom."""

_HALF = 128
"""A pixel that is at least half transparent counts as one to be repainted."""
_SMALL = 0.5
"""The share of the picture under which a region, with its surroundings, is rendered alone."""
_MARGIN = 0.5
"""What is rendered around a region, in parts of its longer side."""
_LEAST_MARGIN = 1 / 16
"""The same at least, in parts of the picture's shorter side."""
_STEEPEST = 2
"""The longer side of what is rendered, over the shorter one, where the picture allows it."""


@dataclass(frozen=True, slots=True)
class Canvas:
    """A picture that is worked on, in the size in which it is delivered."""

    pixels: Pixels
    """(height, width, 3): the picture before."""
    repaint: Pixels | None
    """(height, width): 255 is painted anew, 0 stays as it is; None: the whole picture is remade."""
    box: Box
    """The part that is rendered."""
    alpha: Pixels | None = None
    """(height, width): how opaque the picture is; None: as opaque as a JPEG."""

    @property
    def size(self) -> Size:
        """Width and height."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @property
    def stays_clear(self) -> bool:
        """Whether transparency is left where nothing is repainted."""
        if self.alpha is None or self.repaint is None:
            return False
        return bool((self.alpha[self.repaint < 255] < 255).any())

    @property
    def rendered(self) -> Size:
        """Width and height of the part that is rendered."""
        left, top, right, bottom = self.box
        return right - left, bottom - top

    def source(self, size: Size) -> Image:
        """What a job of this size begins with."""
        return Image(*size, _resized(self._part(self.pixels), size).tobytes())

    def mask(self, size: Size) -> bytes | None:
        """What a job of this size repaints: 255 is painted anew."""
        if self.repaint is None:
            return None
        return _resized(self._part(self.repaint), size).tobytes()

    def paint(self, image: Image) -> Pixels:
        """The whole picture after, RGB or RGBA: what a job made, where it was to be made.

        Where `repaint` is 0 the pixels are those of before, to the bit.
        """
        made = np.frombuffer(image.pixels, np.uint8).reshape(image.height, image.width, -1)
        made = _resized(made, self.rendered)
        if self.repaint is None:
            return made
        weight = self._part(self.repaint)[..., None].astype(np.uint16)
        picture = self.pixels.copy()
        if self.alpha is not None:
            picture = np.dstack([picture, self.alpha])
            made = made if made.shape[2] == 4 else np.dstack([made, _opaque(made)])
        before = self._part(picture)
        before[:] = (before * (255 - weight) + made * weight + 127) // 255
        return picture

    def _part(self, array: Pixels) -> Pixels:
        left, top, right, bottom = self.box
        return array[top:bottom, left:right]


def canvas_of(
    picture: Picture,
    mask: Picture | None,
    size: Size | None,
    crop: bool = True,
    transparent: bool = False,
) -> Canvas:
    """The canvas for an edit; `size` is the delivered one, None the picture's own.

    Transparent pixels of the mask are repainted; without a mask, those of the picture; if it has
    none either, the whole picture is remade. `transparent`: where a mask says what is repainted,
    the picture keeps its transparency elsewhere. Raises InvalidMask.
    """
    repaint = _own_region(picture) if mask is None else _masked_region(mask, picture.size)
    size = size or picture.size
    pixels, repaint = fit(_filled(picture.pixels), size), _fitted(repaint, size)
    whole = 0, 0, *size
    box = _surroundings(repaint) if crop and repaint is not None else whole
    if _area(box) > _SMALL * _area(whole):
        box = whole
    alpha = picture.pixels[..., 3] if mask else _opaque(picture.pixels)
    return Canvas(pixels, repaint, box, _fitted(alpha, size) if transparent else None)


def whole_canvas(picture: Picture, size: Size | None) -> Canvas:
    """The canvas for a variation: the whole picture is remade, transparent or not."""
    pixels = fit(_filled(picture.pixels), size or picture.size)
    return Canvas(pixels, None, (0, 0, pixels.shape[1], pixels.shape[0]))


def _own_region(picture: Picture) -> Pixels | None:
    alpha = picture.pixels[..., 3]
    return 255 - alpha if alpha.min() < _HALF else None


def _masked_region(mask: Picture, size: Size) -> Pixels:
    if not mask.has_alpha:
        raise _invalid("mask image missing alpha channel")
    if mask.size != size:
        raise _invalid(
            f"mask size does not match image size: {mask.size[0]}x{mask.size[1]} is not "
            f"{size[0]}x{size[1]}"
        )
    alpha = mask.pixels[..., 3]
    if alpha.min() >= _HALF:
        raise _invalid("nothing would be repainted: the mask has no transparent pixel")
    return 255 - alpha


def _invalid(reason: str) -> InvalidMask:
    return InvalidMask(f"Invalid mask image format - {reason}", "mask")


def _filled(pixels: Pixels) -> Pixels:
    """Without alpha; what cannot be seen gets the average colour of what can."""
    clear = pixels[..., 3] == 0
    rgb = pixels[..., :3]
    if not clear.any():
        return np.ascontiguousarray(rgb)
    seen = rgb[~clear]
    average = seen.mean(axis=0).round() if len(seen) else np.full(3, 127)
    return np.where(clear[..., None], average.astype(np.uint8), rgb)


def _opaque(pixels: Pixels) -> Pixels:
    return np.full(pixels.shape[:2], 255, np.uint8)


def _fitted(plane: Pixels | None, size: Size) -> Pixels | None:
    """One channel in the delivered size, cut or continued as the picture is."""
    if plane is None or plane.shape[1::-1] == size:
        return plane
    return fit(np.repeat(plane[..., None], 3, axis=2), size)[..., 0]


def _surroundings(repaint: Pixels) -> Box:
    """What is rendered so that a region fits into the picture around it."""
    height, width = repaint.shape
    columns, rows = (np.flatnonzero(repaint.any(axis=axis)) for axis in (0, 1))
    spans = [(columns[0], columns[-1] + 1), (rows[0], rows[-1] + 1)] if len(rows) else []
    if not spans:  # it lay in what the delivered shape cuts off
        raise _invalid("nothing would be repainted in the part that the size asked for shows")
    longest = max(end - start for start, end in spans)
    margin = max(_MARGIN * longest, _LEAST_MARGIN * min(width, height))
    least = (longest + 2 * margin) / _STEEPEST
    left, right = _widened(*spans[0], margin, least, width)
    top, bottom = _widened(*spans[1], margin, least, height)
    return left, top, right, bottom


def _widened(start: int, end: int, margin: float, least: float, limit: int) -> tuple[int, int]:
    """A span with a margin on both sides, at least so long, moved into 0 to `limit`."""
    length = min(limit, round(max(end - start + 2 * margin, least)))
    first = round((start + end - length) / 2)
    first = min(max(first, 0), limit - length)
    return first, first + length


def _area(box: Box) -> int:
    left, top, right, bottom = box
    return (right - left) * (bottom - top)


def _resized(array: Pixels, size: Size) -> Pixels:
    if array.shape[1::-1] == size:
        return array
    picture = Pillow.fromarray(np.ascontiguousarray(array))
    return np.asarray(picture.resize(size, Pillow.Resampling.LANCZOS))
