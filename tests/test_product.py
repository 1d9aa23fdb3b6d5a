"""The product as a user meets it: the shipped files, a real server, and the right picture back."""

import base64
import io
import re
import shlex
import subprocess
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from openai import OpenAI
from PIL import Image

from tests.live import ROOT, serving
from tools.train_demo.measure import Seen, measure


@pytest.fixture(scope="module")
def url(plain_url: str) -> str:
    return plain_url


@pytest.fixture(scope="module")
def client(url: str) -> OpenAI:
    http = httpx.Client(trust_env=False)
    return OpenAI(base_url=f"{url}/v1", api_key="anything", http_client=http, max_retries=0)


def opened(file: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(file))
    picture.load()
    return picture


def seen(picture: Image.Image) -> Seen:
    pixels = torch.from_numpy(np.asarray(picture.convert("RGB")).copy()).permute(2, 0, 1)
    return measure(pixels[None].float() / 127.5 - 1)[0]


def shows(picture: Image.Image, colour: str, kind: str, background: str) -> bool:
    """One shape of the colour and kind, on the background; tests of it say their seed."""
    found = seen(picture)
    shapes = [(blob.colour, blob.kind) for blob in found.blobs]
    return (shapes, found.background) == ([(colour, kind)], background)


def readme_curl() -> list[str]:
    text = re.search(r"^ +(curl .*?[^\\])\n\n", (ROOT / "README.md").read_text(), re.M | re.S)
    assert text
    return shlex.split(text[1].replace("\\\n", ""))


def test_the_first_command_of_the_readme_draws_its_picture(url: str, tmp_path: Path) -> None:
    command = [part.replace("http://127.0.0.1:8000", url) for part in readme_curl()]
    answer = subprocess.run([*command, "-sS"], capture_output=True, check=True, text=True).stdout
    link = re.search(r'"url":"([^"]+)"', answer)
    assert link, answer
    picture = opened(httpx.get(link[1], trust_env=False).content)
    assert picture.size == (1024, 1024)
    assert picture.text["prompt"] == "a large red circle on a blue background"
    found = seen(picture)
    assert (found.blobs[0].colour, found.background) == ("red", "blue")


def test_the_sdk_gets_two_different_pictures_of_one_prompt(client: OpenAI) -> None:
    answer = client.images.generate(
        model="flux-schnell",
        prompt="a large green star on a white background",
        n=2,
        response_format="b64_json",
        extra_body={"seed": 1},
    )
    files = [base64.b64decode(image.b64_json or "") for image in answer.data or []]
    assert len(files) == 2
    assert files[0] != files[1]
    assert all(shows(opened(file), "green", "star", "white") for file in files)


def test_the_demo_model_reads_chinese(client: OpenAI) -> None:
    answer = client.images.generate(
        model="gpt-image-1",
        prompt="一个大的红色圆形,蓝色背景",
        size="1024x1024",
        extra_body={"seed": 1},
    )
    assert shows(opened(base64.b64decode(answer.data[0].b64_json)), "red", "circle", "blue")


def test_equal_seeds_give_equal_pictures_before_and_after_a_restart(
    url: str, tmp_path: Path
) -> None:
    def picture(base_url: str, seed: int) -> bytes:
        body = {"model": "demo", "prompt": "a yellow heart", "seed": seed, "size": "256x256"}
        answer = httpx.post(
            f"{base_url}/v1/images/generations",
            json=body | {"response_format": "b64_json"},
            trust_env=False,
            timeout=60,
        )
        assert answer.headers["x-darkroom-seeds"] == str(seed)
        assert answer.json()["data"][0]["seed"] == seed
        return base64.b64decode(answer.json()["data"][0]["b64_json"])

    first = picture(url, 7)
    assert picture(url, 7) == first
    assert picture(url, 8) != first
    with serving(tmp_path) as restarted:
        again = np.subtract(opened(picture(restarted, 7)), opened(first), dtype=int)
        assert np.abs(again).max() <= 1, "the weights may lie elsewhere in memory"


@pytest.mark.parametrize("size", ["1792x1024", "1024x1792", "512x512", "64x64", "2000x333"])
def test_the_size_is_the_one_asked_for_and_a_circle_stays_round(url: str, size: str) -> None:
    name = "dall-e-3" if "1792" in size else "flux-1.1-pro"
    answer = httpx.post(
        f"{url}/v1/images/generations",
        json={
            "model": name,
            "prompt": "a red circle on a white background",
            "size": size,
            "response_format": "b64_json",
            "seed": 1,
        },
        trust_env=False,
        timeout=60,
    )
    assert answer.headers["x-darkroom-model"] == "demo"
    picture = opened(base64.b64decode(answer.json()["data"][0]["b64_json"]))
    assert f"{picture.width}x{picture.height}" == size
    red = np.asarray(picture.convert("RGB")).astype(int)
    red = (red[..., 0] > 150) & (red[..., 1] < 120)
    rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
    assert 0.75 < np.ptp(columns) / np.ptp(rows) < 1.33


def test_every_name_is_served(url: str) -> None:
    names = [model["id"] for model in httpx.get(f"{url}/v1/models", trust_env=False).json()["data"]]
    assert {"dall-e-2", "dall-e-3", "gpt-image-1", "gpt-image-2", "flux-1.1-pro"} <= set(names)
    for name in names:
        body = {"model": name, "prompt": "a blue square", "size": "1024x1024"}
        answer = httpx.post(f"{url}/v1/images/generations", json=body, trust_env=False, timeout=60)
        assert (answer.status_code, answer.headers["x-darkroom-model"]) == (200, "demo"), name
