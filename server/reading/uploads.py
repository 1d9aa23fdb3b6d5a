"""Bytes that a stranger sent -> a checked picture: 8 bits, RGBA, upright, in sRGB.

The content decides, never the name or the declared type; the size is checked before anything is
decoded. Blocks for long: called off the event loop. Knows files and colours; not what the picture
is for.
"""

import warnings
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageCms, ImageOps

from server import errors
from server.reading.kinds import echo

MOST_PIXELS = 1 << 24
"""Of a picture that is taken: 4096x4096, or as many in another shape."""
LONGEST_SIDE = 8192

_FORMATS = ("PNG", "JPEG", "WEBP")
_ACCEPTED = "'image/jpeg', 'image/png', and 'image/webp'"
_OTHER_TYPES = (
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"%PDF", "application/pdf"),
    (b"<svg", "image/svg+xml"),
)


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


def decode(upload: Upload) -> Picture:
    """The picture in an upload; raises UnsupportedFileType or InvalidImageFile."""
    check_type(upload)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's of large pictures: the limit is ours
            with Pillow.open(upload.file, formats=_FORMATS) as image:
                _check_size(image, upload)
                return _picture(image)
    except errors.InvalidImageFile:
        raise
    except Pillow.DecompressionBombError:
        raise _too_large(upload) from None
    except Exception:  # a decoder may stumble over a hostile file in any way
        raise _undecodable(upload) from None


def _check_size(image: Pillow.Image, upload: Upload) -> None:
    if min(image.size) < 1:
        raise _undecodable(upload)
    if max(image.size) > LONGEST_SIDE or image.width * image.height > MOST_PIXELS:
        raise _too_large(upload)


def _picture(image: Pillow.Image) -> Picture:
    image.load()
    has_alpha = "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info
    profile = image.info.get("icc_profile")
    upright = image
    with suppress(Exception):  # of broken EXIF; the pixels are still good
        upright = ImageOps.exif_transpose(image)
    rgba = _rgba(upright)
    colours = _in_srgb(upright, profile) if profile else None
    if colours is not None:
        colours.putalpha(rgba.getchannel("A"))
        rgba = colours
    return Picture(np.asarray(rgba), has_alpha)


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


def _no_picture(upload: Upload, head: bytes) -> errors.InvalidRequest:
    if upload.declared is None:
        return _undecodable(upload)
    found = next((name for magic, name in _OTHER_TYPES if head.startswith(magic)), upload.declared)
    if found in _ACCEPTED:
        found = "application/octet-stream"
    return errors.UnsupportedFileType(
        f"Invalid file '{upload.param}': unsupported mimetype ('{echo(found)}'). "
        f"Supported file formats are {_ACCEPTED}.",
        upload.param,
    )


def _undecodable(upload: Upload) -> errors.InvalidImageFile:
    if upload.declared is None:
        return errors.InvalidImageFile("Invalid image data.", upload.param)
    which = "mask" if upload.param.startswith("mask") else f"image {upload.number}"
    return errors.InvalidImageFile(
        f"Invalid image file or mode for {which}, please check your image file."
    )


def _too_large(upload: Upload) -> errors.InvalidImageFile:
    return errors.InvalidImageFile(
        f"Invalid '{upload.param}': the image is too large. It may have at most {MOST_PIXELS} "
        f"pixels, and no side longer than {LONGEST_SIDE}.",
        upload.param,
    )
