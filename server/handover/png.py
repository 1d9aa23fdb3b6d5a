"""A PNG writer for finished images: about thirty times as fast as zlib's default, and exact.

Each row is stored as its difference from the row above (PNG's filter "Up"), computed for the whole
image at once, and compressed by ISA-L. Knows PNG, and nothing about what is in the picture.
"""

import zlib
from collections.abc import Iterator, Mapping
from struct import pack

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_UP = 2
_COLOURS = {3: 2, 4: 6}
"""PNG's number for what its pixels are, by their channels."""


def write_png(pixels: NDArray[np.uint8], texts: Mapping[str, str]) -> bytes:
    """The file of an RGB or RGBA image, (height, width, channels), with its text chunks."""
    height, width, channels = pixels.shape
    header = pack(">IIBBBBB", width, height, 8, _COLOURS[channels], 0, 0, 0)  # not interlaced
    return b"".join(
        (
            _SIGNATURE,
            *_chunk(b"IHDR", header),
            *(part for name, text in texts.items() for part in _text(name, text)),
            *_chunk(b"IDAT", isal_zlib.compress(_filtered(pixels), 1)),
            *_chunk(b"IEND", b""),
        )
    )


def _filtered(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rows = pixels.reshape(len(pixels), -1)
    lines = np.empty((len(rows), rows.shape[1] + 1), np.uint8)
    lines[:, 0] = _UP
    lines[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=lines[1:, 1:])
    return lines


def _text(name: str, text: str) -> Iterator[bytes]:
    text = text.replace("\0", " ")  # a text chunk has no way to hold it
    if text.isascii():
        return _chunk(b"tEXt", name.encode() + b"\0" + text.encode())
    return _chunk(b"iTXt", name.encode() + b"\0\0\0\0\0" + text.encode())


def _chunk(kind: bytes, data: bytes) -> Iterator[bytes]:
    yield pack(">I", len(data)) + kind
    yield data
    yield pack(">I", zlib.crc32(data, zlib.crc32(kind)))
