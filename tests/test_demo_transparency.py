"""Transparent backgrounds through a real server and worker, with a tiny matting model."""

import base64
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.live import ROOT, serving
from tests.tiny_matting import segmentation


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder: Path = tmp_path_factory.mktemp("matting")
    segmentation(folder / "cutter")
    (folder / "more.yaml").write_text("matting: cutter\n")
    files = [f"--weights={ROOT / 'weights.yaml'}", f"--weights={folder / 'more.yaml'}"]
    with serving(folder / "data", *files) as url:
        yield httpx.Client(base_url=f"{url}/v1/images", trust_env=False, timeout=60)


def pixels(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    (entry,) = answer.json()["data"]
    return np.asarray(Image.open(BytesIO(base64.b64decode(entry["b64_json"]))))


def test_an_image_is_the_same_with_its_background_cut_away(client: httpx.Client) -> None:
    asked = {"model": "demo", "prompt": "a red circle", "seed": 1, "size": "256x256"}
    asked |= {"response_format": "b64_json"}
    whole = pixels(client.post("generations", json=asked))
    cut = pixels(client.post("generations", json=asked | {"background": "transparent"}))
    assert (whole.shape, cut.shape) == ((256, 256, 3), (256, 256, 4))
    assert (cut[..., :3] == whole).all()
    assert np.ptp(cut[..., 3]) > 20


def test_a_variation_is_cut_out_too(client: httpx.Client) -> None:
    file = BytesIO()
    Image.new("RGB", (256, 256), "red").save(file, "PNG")
    form = {"model": "demo", "background": "transparent", "response_format": "b64_json"}
    made = client.post("variations", data=form, files={"image": file.getvalue()})
    assert pixels(made).shape == (256, 256, 4)
