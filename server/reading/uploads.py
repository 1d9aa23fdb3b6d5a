"""Bytes that a stranger sent -> a checked picture: 8 bits, RGBA, upright, in sRGB.

The content decides, never the name or the declared type; the size is checked before anything is
decoded. A picture of more than `WORKING_PIXELS` is scaled down while it is decoded. Blocks for
long: called off the event loop. Knows files and colours; not what the picture is for.
"""

import threading
import warnings
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from io import BytesIO
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageCms
from PIL.JpegImagePlugin import JpegImageFile

from server import errors
from server.reading.kinds import echo

MOST_PIXELS = 100_000_000
"""Of an upload."""
MOST_WEBP_PIXELS = 50_000_000
"""The same of a WebP: its decoder holds a picture three times, and cannot scale it down."""
LONGEST_SIDE = 32_768
"""Of an upload, in pixels. Panoramas of phones have up to 16,384."""
WORKING_PIXELS = 1 << 24
"""Of a decoded picture: 4096x4096, or as many in another shape."""
LONGEST_WORKING_SIDE = 8192

_STRIP_ROWS = 64
"""Rows that are converted and scaled down at once."""
_ORIENTATION = 0x0112
_TURNS = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_270,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_90,
}
"""How a picture with this orientation in its EXIF data is turned upright."""
_FORMATS = ("PNG", "JPEG", "WEBP")
_ACCEPTED = "'image/jpeg', 'image/png', and 'image/webp'"
_OTHER_TYPES = (
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"%PDF", "application/pdf"),
    (b"<svg", "image/svg+xml"),
    (b"\xff\x0a", "image/jxl"),
    (b"\0\0\0\x0cJXL ", "image/jxl"),
    (b"\0\0\0\x0cjP  ", "image/jp2"),
    (b"8BPS", "image/vnd.adobe.photoshop"),
    (b"\0\0\1\0", "image/x-icon"),
)
_MEDIA_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"), "image/heic"),
    **dict.fromkeys((b"mif1", b"msf1"), "image/heif"),
    **dict.fromkeys((b"avif", b"avis"), "image/avif"),
}
"""Brands in the `ftyp` box of files that phones save as pictures, whatever they call them."""
_one_large_picture = threading.Lock()
"""Held while a large picture is decoded, so the memory for it is needed once."""


@dataclass(slots=True)
class Upload:
    """One file of a request, not looked at yet."""

    file: IO[bytes]
    param: str
    """What a refusal calls it, for example `image[0]`."""
    declared: str | None = None
    """The type that its sender says it has; None for what came inside JSON."""
    filename: str = ""
    number: int = 1
    """Its place among the images of the request, from 1."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded upload."""

    pixels: NDArray[np.uint8]
    """(height, width, 4): RGB, and alpha with 255 where there is none."""
    has_alpha: bool

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        height, width, _ = self.pixels.shape
        return width, height


def media_type(head: bytes) -> str | None:
    """The type of a file that begins so, if it is one that is taken."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return None


def check_type(upload: Upload) -> str:
    """The type of an upload, by content; raises UnsupportedFileType if it is no picture at all."""
    upload.file.seek(0)
    head = upload.file.read(16)
    upload.file.seek(0)
    known = media_type(head)
    if known is None:
        raise _no_picture(upload, head)
    return known


def is_large(upload: Upload) -> bool:
    """Whether a picture is scaled down while it is decoded. Reads its header."""
    with suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Pillow.open(upload.file, formats=_FORMATS) as image:
            return _reduction(image.size) > 1
    return False


def decode(upload: Upload) -> Picture:
    """The picture in an upload; raises UnsupportedFileType or InvalidImageFile."""
    check_type(upload)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's of large pictures: the limit is ours
            with Pillow.open(upload.file, formats=_FORMATS) as image:
                _check_size(image, upload)
                factor = _reduction(image.size)
                with _one_large_picture if factor > 1 else nullcontext():
                    return _picture(image, factor)
    except errors.InvalidImageFile:
        raise
    except Pillow.DecompressionBombError:
        raise _too_large(upload) from None
    except Exception:  # a decoder may stumble over a hostile file in any way
        raise _undecodable(upload) from None


def _check_size(image: Pillow.Image, upload: Upload) -> None:
    if min(image.size) < 1:
        raise _undecodable(upload)
    most = MOST_WEBP_PIXELS if image.format == "WEBP" else MOST_PIXELS
    if max(image.size) > LONGEST_SIDE or image.width * image.height > most:
        raise _too_large(upload, most)


def _reduction(size: tuple[int, int]) -> int:
    """The power of two by which a picture of this size is scaled down.

    It depends on the size alone, so a picture and its mask stay of one size.
    """
    width, height = size
    factor = 1
    while (
        max(width, height) > LONGEST_WORKING_SIDE * factor
        or width * height > WORKING_PIXELS * factor**2
    ):
        factor *= 2
    return factor


def _picture(image: Pillow.Image, factor: int) -> Picture:
    profile = image.info.get("icc_profile")
    scaled = _scaled_down(image, factor)
    has_alpha = "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info
    upright = scaled
    with suppress(Exception):  # of broken EXIF; the pixels are still good
        if (turn := _TURNS.get(_orientation(image))) is not None:
            upright = scaled.transpose(turn)
    rgba = _rgba(upright)
    colours = _in_srgb(upright, profile) if profile else None
    if colours is not None:
        colours.putalpha(rgba.getchannel("A"))
        rgba = colours
    return Picture(np.asarray(rgba), has_alpha)


def _orientation(image: Pillow.Image) -> int:
    """The orientation in EXIF data. That in XMP data does not count, as in browsers."""
    data = image.info.get("exif")
    if data is None and (text := image.info.get("Raw profile type exif")):
        data = bytes.fromhex("".join(text.split("\n")[3:]))
    exif = Pillow.Exif()
    exif.load(data or b"")
    return int(exif.get(_ORIENTATION, 1))


def _scaled_down(image: Pillow.Image, factor: int) -> Pillow.Image:
    """The loaded picture, in (size / factor) rounded up.

    A JPEG is scaled by its decoder. Other formats are decoded as they are, and then scaled in
    strips, so that nothing but the decoded picture is of full size.
    """
    full = image.size
    if factor > 1 and isinstance(image, JpegImageFile):
        image.draft(None, (full[0] // factor, full[1] // factor))
    image.load()
    if factor == 1 or image.size != full:
        return image
    width, height = (-(-side // factor) for side in full)
    scaled = Pillow.new("RGBA", (width, height))
    rows = _STRIP_ROWS * factor
    for top in range(0, full[1], rows):
        strip = image.crop((0, top, full[0], min(top + rows, full[1])))
        scaled.paste(_rgba(strip).reduce(factor), (0, top // factor))
    return scaled


def _rgba(image: Pillow.Image) -> Pillow.Image:
    if not image.mode.startswith("I"):
        return image.convert("RGBA")
    values = np.asarray(image)  # 16 bits of grey, which Pillow would clip instead of scale
    grey = (values.clip(0, 65535) >> 8).astype(np.uint8)
    clear = image.info.get("transparency")
    alpha = np.full_like(grey, 255) if clear is None else np.where(values == clear, 0, 255)
    bands = [grey, grey, grey, alpha.astype(np.uint8)]
    return Pillow.fromarray(np.stack(bands, axis=-1))


def _in_srgb(image: Pillow.Image, profile: bytes) -> Pillow.Image | None:
    """The colours that a picture with this profile shows; None where the profile changes nothing.

    A profile that is broken, or is not one for such a picture, changes nothing either.
    """
    with suppress(Exception):
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        mode = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}[source.profile.xcolor_space]
        if "srgb" in (source.profile.profile_description or "").lower():
            return None
        fits = image if image.mode == mode else _bare(image, mode)
        target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        return ImageCms.profileToProfile(fits, source, target, outputMode="RGB")
    return None


def _bare(image: Pillow.Image, mode: str) -> Pillow.Image:
    if (mode == "CMYK") != (image.mode == "CMYK"):
        raise ValueError("a profile for pictures of another kind")
    return _rgba(image).convert("RGB").convert(mode)


def _other_type(head: bytes) -> str | None:
    if head[4:8] == b"ftyp":
        return _MEDIA_BRANDS.get(head[8:12], "video/mp4")
    return next((name for magic, name in _OTHER_TYPES if head.startswith(magic)), None)


def _no_picture(upload: Upload, head: bytes) -> errors.InvalidRequest:
    found = _other_type(head)
    if upload.declared is None:
        return _undecodable(upload, found)
    found = found or upload.declared
    if found in _ACCEPTED:
        found = "application/octet-stream"
    return errors.UnsupportedFileType(
        f"Invalid file '{upload.param}': unsupported mimetype ('{echo(found)}'). "
        f"Supported file formats are {_ACCEPTED}.",
        upload.param,
    )


def _undecodable(upload: Upload, found: str | None = None) -> errors.InvalidImageFile:
    if upload.declared is None:
        told = f" It is '{found}'; supported file formats are {_ACCEPTED}." if found else ""
        return errors.InvalidImageFile(f"Invalid image data.{told}", upload.param)
    which = "mask" if upload.param.startswith("mask") else f"image {upload.number}"
    return errors.InvalidImageFile(
        f"Invalid image file or mode for {which}, please check your image file."
    )


def _too_large(upload: Upload, most: int = MOST_PIXELS) -> errors.InvalidImageFile:
    return errors.InvalidImageFile(
        f"Invalid '{upload.param}': the image is too large. It may have at most {most} "
        f"pixels, and no side longer than {LONGEST_SIDE}.",
        upload.param,
    )
