from io import BytesIO

import numpy as np
import pytest
from PIL import Image as Pillow

from pipelines.core import Image, Job
from server.handover.encode import encode, texts_of
from server.reading.contract import Delivery, OutputFormat
from tests.server.fakes import picture

JOB = Job(
    id="1",
    model="demo",
    prompt="a cat",
    width=1024,
    height=1024,
    seed=3,
    steps=4,
    guidance_scale=1.5,
)


def opened(file: bytes) -> Pillow.Image:
    picture = Pillow.open(BytesIO(file))
    picture.load()
    return picture


def disc(width: int, height: int) -> Image:
    y, x = np.mgrid[0:height, 0:width]
    inside = (x - width / 2 + 0.5) ** 2 + (y - height / 2 + 0.5) ** 2 < (height / 3) ** 2
    pixels = np.where(inside[..., None], 255, 0).astype(np.uint8).repeat(3, axis=2)
    return Image(width, height, pixels.tobytes())


def test_a_png_of_the_rendered_size_is_exact_and_says_how_it_was_made() -> None:
    image = picture(JOB)
    file = opened(encode(image, Delivery(size=(1024, 1024)), texts_of(JOB)))
    assert file.tobytes() == image.pixels
    assert file.text == {
        "prompt": "a cat",
        "model": "demo",
        "seed": "3",
        "steps": "4",
        "guidance_scale": "1.5",
        "software": "darkroom",
    }


def test_a_photograph_is_about_as_small_as_pillow_makes_it() -> None:
    image, file = picture(JOB), BytesIO()
    Pillow.frombytes("RGB", (1024, 1024), bytes(image.pixels)).save(file, "png")
    ours = encode(image, Delivery(size=(1024, 1024)), {})
    assert len(ours) <= 1.2 * len(file.getvalue())


@pytest.mark.parametrize("size", [(256, 256), (1792, 1024), (1024, 1792), (2048, 2048), (101, 67)])
def test_delivers_exactly_the_size_asked_for(size: tuple[int, int]) -> None:
    assert opened(encode(disc(128, 96), Delivery(size=size), {})).size == size


def test_a_circle_stays_a_circle() -> None:
    pixels = (
        np.asarray(opened(encode(disc(352, 192), Delivery(size=(1792, 1024)), {})))[..., 0] > 127
    )
    width, height = pixels.any(axis=0).sum(), pixels.any(axis=1).sum()
    assert abs(int(width) - int(height)) <= 6


@pytest.mark.parametrize(("output_format", "name"), [("jpeg", "JPEG"), ("webp", "WEBP")])
def test_other_formats(output_format: OutputFormat, name: str) -> None:
    image = picture(JOB)
    good, poor = (
        encode(image, Delivery(size=(512, 512), output_format=output_format, compression=q), {})
        for q in (100, 10)
    )
    assert opened(good).format == name
    assert opened(good).size == (512, 512)
    assert len(poor) < len(good) / 3


def test_takes_pixels_as_any_buffer() -> None:
    image = disc(64, 64)
    view = Image(64, 64, memoryview(bytearray(image.pixels)))
    delivery = Delivery(size=(80, 80))
    assert encode(view, delivery, {}) == encode(image, delivery, {})
