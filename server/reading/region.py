"""Which part of a picture is repainted: transparency -> a `Canvas`, and what is made of it.

A canvas has the delivered size. It gives a job its source and mask, and puts the job's image back
into the picture. Pure functions of arrays; knows nothing of requests or models.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
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
_GROUNDS = (255, 0, 127)
"""White, black and grey: what a transparent picture is composed on."""
_CONTRAST = 32
"""A colour stands out from a ground if one of its channels differs by as much."""


@dataclass(frozen=True, slots=True)
class Canvas:
    """A picture that is worked on, in the size in which it is delivered."""

    pixels: Pixels
    """(height, width, 3): the picture before, composed on a ground where it is transparent."""
    repaint: Pixels | None
    """(height, width): 255 is painted anew, 0 stays as it is; None: the whole picture is remade."""
    box: Box
    """The part that is rendered."""
    alpha: Pixels | None = None
    """(height, width): how opaque the picture is; None: as opaque as a JPEG."""
    kept: Pixels | None = None
    """(height, width, 3): the colours that stay where nothing is repainted, not composed on
    anything; None: those of `pixels`."""

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
        picture = (self.pixels if self.kept is None else self.kept).copy()
        if self.alpha is not None:
            picture = np.dstack([picture, self.alpha])
            made = made if made.shape[2] == 4 else np.dstack([made, _opaque(made)])
        before = self._part(picture)
        blend = _blended if self.alpha is None else _blended_with_alpha
        before[:] = blend(before, made, weight)
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
    pixels, ground = _composed(picture.pixels)
    stays = repaint is not None and (mask is None or transparent)
    kept = _colours(picture.pixels, ground, size) if stays and ground is not None else None
    pixels, repaint = fit(pixels, size), _fitted(repaint, size)
    whole = 0, 0, *size
    box = _surroundings(repaint) if crop and repaint is not None else whole
    if _area(box) > _SMALL * _area(whole):
        box = whole
    alpha = picture.pixels[..., 3] if mask else _opaque(picture.pixels)
    return Canvas(pixels, repaint, box, _fitted(alpha, size) if transparent else None, kept)


def whole_canvas(picture: Picture, size: Size | None) -> Canvas:
    """The canvas for a variation: the whole picture is remade, transparent or not."""
    pixels = fit(_composed(picture.pixels)[0], size or picture.size)
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


def _composed(pixels: Pixels) -> tuple[Pixels, int | None]:
    """RGBA -> RGB on a ground, and the grey level of the ground; None for an opaque picture."""
    if pixels[..., 3].min() == 255:
        return np.ascontiguousarray(pixels[..., :3]), None
    ground = _ground(pixels)
    picture = Pillow.fromarray(pixels)
    composed = Pillow.new("RGB", picture.size, (ground, ground, ground))
    composed.paste(picture, mask=picture.getchannel("A"))
    return np.asarray(composed), ground


def _ground(pixels: Pixels) -> int:
    """White, as in browsers, unless most of the outline of what is visible would vanish on it."""
    alpha = pixels[..., 3]
    visible = alpha >= _HALF
    outline = visible & _grown(~visible)
    chosen = next((it for it in (outline, visible) if it.any()), alpha > 0)
    colours = pixels[chosen][:, :3].astype(np.int16)
    if not len(colours):
        return _GROUNDS[0]
    shown = [(np.abs(colours - it).max(axis=1) >= _CONTRAST).mean() for it in _GROUNDS]
    return _GROUNDS[0 if shown[0] >= 0.5 else int(np.argmax(shown))]


def _grown(area: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """An area with the pixels that touch it."""
    grown = area.copy()
    grown[1:] |= area[:-1]
    grown[:-1] |= area[1:]
    grown[:, 1:] |= area[:, :-1]
    grown[:, :-1] |= area[:, 1:]
    return grown


def _colours(pixels: Pixels, ground: int, size: Size) -> Pixels:
    """The colours of a transparent picture, in a size. Hidden ones are the ground: they do not
    leak."""
    fitted = fit(pixels, size)  # weighted by alpha, as Pillow resizes RGBA
    return np.where(fitted[..., 3:] == 0, np.uint8(ground), fitted[..., :3])


def _blended(before: Pixels, made: Pixels, weight: NDArray[np.uint16]) -> Pixels:
    blended = (before * (255 - weight) + made * weight + 127) // 255
    return blended.astype(np.uint8)


def _blended_with_alpha(before: Pixels, made: Pixels, weight: NDArray[np.uint16]) -> Pixels:
    """The same of RGBA. A colour counts as much as it is visible."""
    left = before[..., 3:] * (255 - weight).astype(np.uint32)
    right = made[..., 3:] * weight.astype(np.uint32)
    total = left + right
    divisor = np.maximum(total, 1)
    colours = (before[..., :3] * left + made[..., :3] * right + divisor // 2) // divisor
    colours = np.where(total == 0, before[..., :3], colours)
    return np.dstack([colours, (total + 127) // 255]).astype(np.uint8)


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
