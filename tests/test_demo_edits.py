"""Edits and variations with the demo model: the right part is repainted, with the right thing."""

import base64
import warnings
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import httpx
import numpy as np
import pytest
from openai import OpenAI
from PIL import Image, ImageDraw

N = 8
SIDE, HALF = 256, 128
LEFT, RIGHT = np.s_[:, :HALF], np.s_[:, HALF:]


@pytest.fixture(scope="module")
def client(plain_url: str) -> Iterator[OpenAI]:
    with httpx.Client(trust_env=False) as http:
        yield OpenAI(base_url=f"{plain_url}/v1", api_key="x", http_client=http, max_retries=0)


def drawn(colour: str, box: tuple[int, int, int, int], background: str = "white") -> Any:
    """A picture of one square."""
    image = Image.new("RGB", (SIDE, SIDE), background)
    ImageDraw.Draw(image).rectangle(box, fill=colour)
    return np.asarray(image)


def file_of(pixels: Any) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def clear(where: Any) -> Any:
    """An alpha that is transparent there."""
    alpha = np.full((SIDE, SIDE), 255, np.uint8)
    alpha[where] = 0
    return alpha


def images(answer: Any) -> list[Any]:
    files = [base64.b64decode(it.b64_json) for it in answer.data]
    return [np.asarray(Image.open(BytesIO(file)).convert("RGB")).astype(int) for file in files]


def green(pixels: Any) -> float:
    """The share of pixels that are green."""
    red, grass, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    return float(((grass > red + 40) & (grass > blue + 40)).mean())


PICTURE = drawn("blue", (160, 80, 230, 170))


def put_star(client: OpenAI, where: Any) -> list[Any]:
    return images(
        client.images.edit(
            model="gpt-image-1",
            image=file_of(np.dstack([PICTURE, clear(where)])),
            prompt="a green star",
            n=N,
            extra_body={"seed": 1},
        )
    )


def is_as_asked(results: list[Any]) -> bool:
    """The right half is untouched to the bit, and there is green on the left of most."""
    untouched = all((it[RIGHT] == PICTURE[RIGHT]).all() for it in results)
    return untouched and sum(green(it[LEFT]) > 0.03 for it in results) > N / 2


def test_a_green_star_is_painted_where_the_picture_is_transparent(client: OpenAI) -> None:
    results = put_star(client, LEFT)
    assert len(results) == N
    assert is_as_asked(results)


def test_an_inverted_mask_is_not_what_was_asked_for(client: OpenAI) -> None:
    results = put_star(client, RIGHT)
    assert not is_as_asked(results)
    assert all((it[LEFT] == PICTURE[LEFT]).all() for it in results)


def test_a_small_region_is_repainted_alone(client: OpenAI) -> None:
    where = np.s_[30:80, 30:80]
    (result, *_) = put_star(client, where)
    outside = clear(where) == 255
    assert (result[outside] == PICTURE[outside]).all()


def test_variations_differ_and_stay_near_their_source(client: OpenAI) -> None:
    source = drawn("red", (70, 70, 180, 180))
    other = drawn("yellow", (20, 20, 90, 90), "black").astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the client calls variations deprecated
        answer = client.images.create_variation(
            model="flux-schnell",
            image=file_of(source),
            n=3,
            response_format="b64_json",
            extra_body={"seed": 1},
        )
    made = images(answer)
    assert len(made) == 3
    for index, first in enumerate(made):
        assert first.shape == (SIDE, SIDE, 3)
        assert np.abs(first - source).mean() < np.abs(first - other).mean() / 2
        assert all((first != second).any() for second in made[index + 1 :])
