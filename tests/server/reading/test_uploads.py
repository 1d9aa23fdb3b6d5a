"""Files of strangers: every kind of picture in its right colours, everything else refused."""

import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageCms

from server import errors
from server.reading import uploads
from server.reading.uploads import (
    LONGEST_SIDE,
    MOST_PIXELS,
    WORKING_PIXELS,
    check_type,
    decode,
    is_large,
    media_type,
)
from tests.server.pictures import file_of, noise, saved, upload, with_alpha

RGB = noise()


def colours(data: bytes) -> Any:
    return decode(upload(data)).pixels


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, data: bytes = b"", bits: int = 8, kind: int = 2) -> bytes:
    """A PNG by hand: the header may promise what the data do not hold."""
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_opaque_pictures_come_through_to_the_bit(kind: str) -> None:
    picture = decode(upload(file_of(RGB, kind)))
    assert (picture.pixels[..., :3] == RGB).all()
    assert (picture.pixels[..., 3] == 255).all()
    assert not picture.has_alpha
    assert picture.size == (96, 64)


def test_jpeg() -> None:
    smooth = np.full((64, 96, 3), (200, 30, 90), np.uint8)
    pixels = colours(file_of(smooth, "JPEG", quality=100))
    assert np.abs(pixels[..., :3].astype(int) - smooth).max() <= 3


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_alpha_is_kept(kind: str) -> None:
    alpha = np.linspace(0, 255, 96).astype(np.uint8)[None].repeat(64, axis=0)
    picture = decode(upload(file_of(with_alpha(RGB, alpha), kind, exact=True)))
    assert picture.has_alpha
    assert (picture.pixels == with_alpha(RGB, alpha)).all()


def test_grey_pictures_with_16_bits_are_scaled_and_not_clipped() -> None:
    pixels = colours(file_of(np.array([[0, 0x0100, 0x8000, 0xFFFF]], np.uint16)))
    assert pixels[0, :, 0].tolist() == [0, 1, 128, 255]
    assert (pixels[..., 3] == 255).all()


def test_colours_with_16_bits() -> None:
    row = b"\0" + struct.pack(">6H", 0xFFFF, 0x8000, 0, 0x1234, 0, 0xFF00)
    assert colours(png_of(2, 1, row, bits=16)).tolist() == [[[255, 128, 0, 255], [18, 0, 255, 255]]]


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 77, (77, 77, 77)),
        ("P", (10, 200, 30), (10, 200, 30)),
        ("LA", (77, 128), (77, 77, 77)),
    ],
)
def test_other_modes(mode: str, value: Any, expected: tuple[int, ...]) -> None:
    if mode == "P":
        image = Pillow.new("RGB", (8, 8), value).convert("P", palette=Pillow.Palette.ADAPTIVE)
    else:
        image = Pillow.new(mode, (8, 8), value)
    picture = decode(upload(saved(image)))
    assert (picture.pixels[..., :3] == expected).all()
    assert picture.has_alpha == (mode == "LA")


def test_the_transparent_colour_of_a_palette_is_alpha() -> None:
    image = Pillow.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    picture = decode(upload(saved(image, transparency=1)))
    assert picture.has_alpha
    assert picture.pixels[0, :, 3].tolist() == [255, 0]


def test_cmyk() -> None:
    image = Pillow.new("RGB", (16, 16), (200, 30, 90)).convert("CMYK")
    pixels = colours(saved(image, "JPEG", quality=100))
    assert np.abs(pixels[..., :3].astype(int) - (200, 30, 90)).max() <= 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_their_exif_says(orientation: int) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :24] = 255  # the top left corner
    turns: dict[int, Any] = {
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }
    stored = np.ascontiguousarray(turns.get(orientation, lambda a: a)(upright))
    pixels = colours(file_of(stored, "JPEG", exif=exif, quality=100))
    assert pixels.shape[:2] == (32, 48)
    assert pixels[4, 4, 0] > 250
    assert pixels[28, 44, 0] < 5


XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6" '
    b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/"/></x:xmpmeta>'
)


def exif_of(orientation: int) -> Pillow.Exif:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_xmp_alone_turns_nothing(kind: str) -> None:
    assert colours(file_of(RGB, kind, xmp=XMP)).shape[:2] == (64, 96)
    both = file_of(RGB, kind, xmp=XMP, exif=exif_of(1))
    assert colours(both).shape[:2] == (64, 96)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_exif_turns_every_format(kind: str) -> None:
    assert colours(file_of(RGB, kind, exif=exif_of(6))).shape[:2] == (96, 64)


def test_broken_exif_turns_nothing() -> None:
    data = file_of(RGB, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert colours(data).shape[:2] == (64, 96)


def test_of_several_pictures_in_a_jpeg_the_first_counts() -> None:
    """Phones add a preview, or what a screen with more contrast shows (MPO, Ultra HDR)."""
    first, second = Pillow.new("RGB", (64, 48), "red"), Pillow.new("RGB", (32, 24), "blue")
    mpo = saved(first, "MPO", save_all=True, append_images=[second], quality=95)
    assert Pillow.open(BytesIO(mpo)).format == "MPO"
    gain_map = saved(first, "JPEG", xmp=b'<x hdrgm:Version="1.0"/>') + saved(second, "JPEG")
    for data in (mpo, gain_map):
        picture = decode(upload(data))
        assert picture.size == (64, 48)
        assert picture.pixels[20, 20, 0] > 240 and picture.pixels[20, 20, 2] < 15


def test_colours_are_those_that_the_profile_means() -> None:
    lab = ImageCms.createProfile("LAB")
    swapped = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    marked = swapped.replace(b"rXYZ", b"tXYZ").replace(b"bXYZ", b"rXYZ").replace(b"tXYZ", b"bXYZ")
    marked = marked.replace("sRGB".encode("utf-16-be"), "odd!".encode("utf-16-be"))
    red = np.full((8, 8, 3), (255, 0, 0), np.uint8)
    assert tuple(colours(file_of(red, icc_profile=swapped))[0, 0]) == (255, 0, 0, 255)
    blue = colours(file_of(red, icc_profile=marked))[0, 0]
    assert blue[2] > 200 and blue[0] < 60
    assert blue[3] == 255
    for useless in (b"no profile", ImageCms.ImageCmsProfile(lab).tobytes()):
        assert tuple(colours(file_of(red, icc_profile=useless))[0, 0]) == (255, 0, 0, 255)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_of_an_animation_the_first_picture_counts(kind: str) -> None:
    frames = [Pillow.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)
    assert tuple(colours(data)[0, 0]) == (255, 0, 0, 255)


def test_a_file_that_is_also_something_else_is_a_picture() -> None:
    assert (colours(file_of(RGB) + b"PK\x03\x04<script>%PDF-1.7")[..., :3] == RGB).all()


GOOD = file_of(RGB)
UNDECODABLE = "Invalid image file or mode for image 1, please check your image file."

HOSTILE: list[tuple[str, bytes]] = [
    ("half a PNG", GOOD[: len(GOOD) // 2]),
    ("a PNG of nothing but its header", GOOD[:33]),
    ("a PNG's signature", GOOD[:8]),
    ("half a JPEG", file_of(RGB, "JPEG")[:1000]),
    ("half a WebP", file_of(RGB, "WEBP")[:1000]),
    ("a JPEG's signature", b"\xff\xd8\xff\xe0"),
    ("a WebP's signature", b"RIFF\x04\0\0\0WEBP"),
    ("a PNG without pixels", png_of(0, 0)),
    ("a PNG of no height", png_of(5, 0)),
    ("a PNG whose data are missing", png_of(64, 64)),
    ("a PNG of 3 bits", png_of(8, 8, bits=3)),
    ("a PNG of another kind", png_of(8, 8, kind=1)),
    ("a PNG with a broken chunk", GOOD[:40] + b"\xff" * 20 + GOOD[60:]),
]  # fmt: skip


@pytest.mark.parametrize("data", [data for _, data in HOSTILE], ids=[name for name, _ in HOSTILE])
def test_what_cannot_be_decoded_is_refused(data: bytes) -> None:
    with pytest.raises(errors.InvalidImageFile) as caught:
        decode(upload(data))
    assert (caught.value.message, caught.value.param) == (UNDECODABLE, None)
    with pytest.raises(errors.InvalidImageFile) as caught:
        decode(upload(data, "images[0].image_url", declared=None))
    assert caught.value.message == "Invalid image data."
    assert caught.value.param == "images[0].image_url"


@pytest.mark.parametrize(
    "size", [(100_000, 100_000), (20_000, 20_000), (LONGEST_SIDE + 1, 1), (10_000, 10_001)]
)
def test_bombs_are_refused_before_they_are_decoded(size: tuple[int, int]) -> None:
    with pytest.raises(errors.InvalidImageFile, match="too large") as caught:
        decode(upload(png_of(*size, b"\0" * 1_000_000)))
    assert caught.value.param == "image"
    assert str(MOST_PIXELS) in caught.value.message


@pytest.mark.parametrize(
    ("data", "declared", "told"),
    [
        (b"RIFF\x24\0\0\0WAVEfmt ", "audio/wav", "audio/wav"),
        (b"hello", "text/plain", "text/plain"),
        (b"hello", "image/png", "application/octet-stream"),
        (b"", "application/octet-stream", "application/octet-stream"),
        (b"GIF89a\x01\0\x01\0\0\0\0;", "image/png", "image/gif"),
        (b"BM\x3a\0\0\0", "image/png", "image/bmp"),
        (b"II*\0\x08\0\0\0", "image/tiff", "image/tiff"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml", "image/svg+xml"),
        (b"%PDF-1.7", "image/jpeg", "application/pdf"),
        (b"\0\0\0\x24ftypheic\0\0\0\0", "image/jpeg", "image/heic"),  # a phone's, named .jpg
        (b"\0\0\0\x1cftypmif1\0\0\0\0", "image/heic", "image/heif"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "image/webp", "image/avif"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "image/jpeg", "video/mp4"),
        (b"\xff\x0a\xfa\x7f", "image/jxl", "image/jxl"),
    ],
)
def test_what_is_no_picture_is_told_by_its_content(data: bytes, declared: str, told: str) -> None:
    with pytest.raises(errors.UnsupportedFileType) as caught:
        decode(upload(data, "image[0]", declared))
    assert caught.value.param == "image[0]"
    assert caught.value.message == (
        f"Invalid file 'image[0]': unsupported mimetype ('{told}'). Supported file formats are "
        "'image/jpeg', 'image/png', and 'image/webp'."
    )


def test_another_type_in_a_data_url_is_told() -> None:
    with pytest.raises(errors.InvalidImageFile, match="It is 'image/heic'; supported file"):
        decode(upload(b"\0\0\0\x24ftypheic\0\0\0\0", declared=None))


@pytest.mark.parametrize("declared", ["application/octet-stream", "text/plain", "audio/wav"])
def test_the_declared_type_is_ignored(declared: str) -> None:
    assert check_type(upload(GOOD, declared=declared)) == "image/png"
    assert (decode(upload(GOOD, declared=declared)).pixels[..., :3] == RGB).all()


def test_types() -> None:
    for kind in ("png", "jpeg", "webp"):
        assert media_type(file_of(RGB, kind.upper())) == f"image/{kind}"


SEEDS = [file_of(RGB[:8, :8], kind) for kind in ("PNG", "JPEG", "WEBP")]


@given(
    data=st.sampled_from(SEEDS),
    cuts=st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=8)), max_size=4),
    end=st.integers(0, 2000),
)
def test_whatever_is_sent_is_decoded_or_refused(
    data: bytes, cuts: list[tuple[int, bytes]], end: int
) -> None:
    spoiled = bytearray(data)
    for position, put in cuts:
        at = position % len(spoiled)
        spoiled[at : at + len(put)] = put
    try:
        pixels = decode(upload(bytes(spoiled[: end or None]))).pixels
    except errors.InvalidRequest:
        return
    assert pixels.dtype == np.uint8 and pixels.shape[2] == 4
    assert pixels.shape[0] * pixels.shape[1] <= MOST_PIXELS


def test_pictures_are_read_from_any_file(tmp_path: Any) -> None:
    (tmp_path / "picture").write_bytes(GOOD)
    with (tmp_path / "picture").open("rb") as file:
        it = upload(b"")
        it.file = file
        assert (decode(it).pixels[..., :3] == RGB).all()


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of more than 32x32 pixels are large, so that tests are quick."""
    monkeypatch.setattr(uploads, "WORKING_PIXELS", 32 * 32)
    monkeypatch.setattr(uploads, "_STRIP_ROWS", 3)


GRADIENT = np.stack(
    [*np.meshgrid(np.linspace(0, 255, 95), np.linspace(0, 255, 63)), np.full((63, 95), 90)], -1
).astype(np.uint8)
"""95x63: large by a factor of 4, and odd."""
EXPECTED = np.asarray(Pillow.fromarray(GRADIENT).reduce(4)).astype(int)

LARGE: dict[str, Callable[[], bytes]] = {
    "PNG": lambda: file_of(GRADIENT),
    "WebP": lambda: file_of(GRADIENT, "WEBP"),
    "JPEG": lambda: file_of(GRADIENT, "JPEG", quality=100),
    "progressive JPEG": lambda: file_of(GRADIENT, "JPEG", quality=100, progressive=True),
    "CMYK JPEG": lambda: saved(Pillow.fromarray(GRADIENT).convert("CMYK"), "JPEG", quality=100),
    "MPO": lambda: saved(Pillow.fromarray(GRADIENT), "MPO", save_all=True, quality=100),
    "JPEG with a profile": lambda: file_of(
        GRADIENT, "JPEG", quality=100,
        icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LARGE)
def test_large_pictures_are_scaled_down(name: str, small_limits: None) -> None:
    file = upload(LARGE[name]())
    assert is_large(file)
    picture = decode(file)
    assert picture.size == (24, 16) and not picture.has_alpha
    assert np.abs(picture.pixels[..., :3].astype(int) - EXPECTED).mean() < 3
    assert (picture.pixels[..., 3] == 255).all()


@pytest.mark.parametrize(
    ("mode", "value"), [("1", 1), ("L", 77), ("LA", (77, 255)), ("P", 5), ("I;16", 77 * 257)]
)
def test_large_pictures_of_other_modes(mode: str, value: Any, small_limits: None) -> None:
    image = Pillow.new(mode, (95, 63), value)
    if mode == "P":
        image.putpalette([77] * 768)
    pixels = colours(saved(image))
    assert pixels.shape == (16, 24, 4)
    assert (pixels == (*[255 if mode == "1" else 77] * 3, 255)).all()


def test_the_transparency_of_large_pictures_is_scaled_down(small_limits: None) -> None:
    alpha = np.full((64, 96), 255, np.uint8)
    alpha[:, :50] = 0
    red = np.full((64, 96, 3), (200, 0, 0), np.uint8)
    red[:, :50] = (0, 255, 0)  # hidden, and must not be mixed in
    picture = decode(upload(file_of(with_alpha(red, alpha), exif=exif_of(6))))
    assert picture.has_alpha and picture.size == (16, 24)
    row = picture.pixels[:, 8]  # the left edge is the top after turning it
    assert (row[:12, 3] == 0).all() and 0 < row[12, 3] < 255 and (row[13:, 3] == 255).all()
    assert np.abs(row[12:, :3].astype(int) - (200, 0, 0)).max() <= 2


def test_large_pictures_are_turned(small_limits: None) -> None:
    for orientation in range(1, 9):
        large = decode(upload(file_of(GRADIENT, "JPEG", exif=exif_of(orientation), quality=100)))
        plain = np.asarray(Pillow.fromarray(EXPECTED.astype(np.uint8)))
        image = Pillow.fromarray(plain)
        if (turn := uploads._TURNS.get(orientation)) is not None:
            image = image.transpose(turn)
        assert large.size == image.size
        assert np.abs(large.pixels[..., :3].astype(int) - np.asarray(image)).mean() < 3


def test_sizes_stay_as_they_are_up_to_the_working_size() -> None:
    sizes = [(4096, 4096), (8192, 2048), (4097, 4096), (6000, 4000), (8064, 6048), (11584, 8632),
             (16384, 3628), (32768, 1)]  # fmt: skip
    assert [uploads._reduction(size) for size in sizes] == [1, 1, 2, 2, 2, 4, 2, 4]
    for width, height in sizes:
        factor = uploads._reduction((width, height))
        assert -(-width // factor) * -(-height // factor) <= WORKING_PIXELS + 8192


def test_a_webp_may_have_fewer_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MOST_WEBP_PIXELS", 96 * 64 - 1)
    decode(upload(file_of(RGB)))
    with pytest.raises(errors.InvalidImageFile, match="at most 6143 pixels"):
        decode(upload(file_of(RGB, "WEBP")))


def test_one_large_picture_is_decoded_at_a_time(
    small_limits: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    scaled_down, lock = uploads._scaled_down, threading.Lock()
    running, most = 0, 0

    def counted(*arguments: Any) -> Any:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1
        return scaled_down(*arguments)

    monkeypatch.setattr(uploads, "_scaled_down", counted)
    data = file_of(GRADIENT)
    with ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(lambda _: decode(upload(data)), range(8)))) == 8
    assert most == 1


MEASURED = """
import resource, sys
from server.reading.uploads import Upload, decode
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with open(sys.argv[1], "rb") as file:
    picture = decode(Upload(file, "image", "image/png"))
print(*picture.size, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize(("kind", "mebibytes"), [("JPEG", 250), ("PNG", 200)])
def test_the_memory_for_48_megapixels(kind: str, mebibytes: int, tmp_path: Any) -> None:
    """RGB in full size is 186 MiB, and would be held three times. The PNG is grey: 47 MiB."""
    path = tmp_path / "photo"
    mode = "L" if kind == "PNG" else "RGB"
    size = (8064, 6048)
    made = f"from PIL import Image; Image.new('{mode}', {size}, 99).save('{path}', '{kind}')"
    subprocess.run([sys.executable, "-c", made], check=True)
    ran = subprocess.run(
        [sys.executable, "-c", MEASURED, str(path)], check=True, capture_output=True, text=True
    )
    width, height, peak = map(int, ran.stdout.split())
    assert (width, height) == (4032, 3024)
    assert peak < mebibytes
