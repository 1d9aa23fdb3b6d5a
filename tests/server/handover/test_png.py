import zlib
from io import BytesIO
from struct import unpack

import numpy as np
import pytest
from PIL import Image as Pillow

from server.handover.png import write_png

RNG = np.random.default_rng(1)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (64, 48), (333, 1000)])
def test_decodes_to_the_same_pixels(shape: tuple[int, int], mode: str) -> None:
    pixels = RNG.integers(0, 256, (*shape, len(mode)), dtype=np.uint8)
    with Pillow.open(BytesIO(write_png(pixels, {}))) as picture:
        assert picture.mode == mode
        assert np.array_equal(np.asarray(picture), pixels)


def test_every_chunk_has_its_checksum() -> None:
    file = write_png(RNG.integers(0, 256, (9, 9, 3), dtype=np.uint8), {"a": "b", "c": "é"})
    kinds, at = [], 8
    while at < len(file):
        (length,) = unpack(">I", file[at : at + 4])
        body = file[at + 4 : at + 8 + length]
        assert unpack(">I", file[at + 8 + length : at + 12 + length]) == (zlib.crc32(body),)
        kinds.append(body[:4])
        at += 12 + length
    assert kinds == [b"IHDR", b"tEXt", b"iTXt", b"IDAT", b"IEND"]


@pytest.mark.parametrize("text", ["a cat", "une crème", "一隻貓", "😀", "two\nlines", ""])
def test_texts_come_back(text: str) -> None:
    file = write_png(np.zeros((2, 2, 3), np.uint8), {"prompt": text})
    with Pillow.open(BytesIO(file)) as picture:
        assert picture.text == {"prompt": text}


def test_a_text_with_a_zero_byte_does_not_break_the_file() -> None:
    file = write_png(np.zeros((2, 2, 3), np.uint8), {"prompt": "a\0b", "model": "m"})
    with Pillow.open(BytesIO(file)) as picture:
        assert picture.text == {"prompt": "a b", "model": "m"}
