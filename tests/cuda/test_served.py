"""The real server and its worker processes on pretended CUDA devices, over HTTP."""

import base64
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import PIL.Image
import pytest
import yaml

from tests.conftest import entry
from tests.live import serving
from tests.support import pretend_cuda

SITE = Path(pretend_cuda.__file__).parent / "site"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder through which the devices of the worker processes are told to fail."""
    folder = tmp_path / "control"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", f"{SITE}:{ROOT}")
    monkeypatch.setenv("PRETEND_CUDA", "2")
    monkeypatch.setenv("PRETEND_CUDA_FILES", str(folder))
    return folder


@contextmanager
def client(data_dir: Path, *arguments: str) -> Iterator[httpx.Client]:
    with (
        serving(data_dir, *arguments) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=240) as http,
    ):
        yield http


def generate(http: httpx.Client, model: str, seed: int, **more: Any) -> httpx.Response:
    wanted = {"model": model, "prompt": "a large red circle", "seed": seed}
    return http.post("/v1/images/generations", json=wanted | {"response_format": "b64_json"} | more)


def edit(http: httpx.Client, model: str, seed: int) -> httpx.Response:
    file = io.BytesIO()
    PIL.Image.new("RGB", (64, 64), "blue").save(file, "PNG")
    form = {"model": model, "prompt": "a fox", "seed": str(seed), "size": "64x64"}
    return http.post("/v1/images/edits", data=form, files={"image": file.getvalue()})


def image(answer: httpx.Response) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    file = io.BytesIO(base64.b64decode(answer.json()["data"][0]["b64_json"]))
    return np.asarray(PIL.Image.open(file).convert("RGB")).astype(int)


def test_a_worker_whose_device_fails_is_replaced_and_no_job_is_lost(
    tmp_path: Path, control: Path
) -> None:
    with (
        client(tmp_path / "data", "--devices", "cuda:0,cuda:1") as http,
        ThreadPoolExecutor(6) as pool,
    ):
        before = image(generate(http, "demo", 1, size="256x256"))
        jobs = [
            pool.submit(generate, http, "demo", seed % 3, size="256x256", steps=12)
            for seed in range(12)
        ]
        (control / "doom.0").write_text("an illegal memory access was encountered")
        assert [job.result().status_code for job in jobs] == [200] * 12
        assert (image(generate(http, "demo", 1, size="256x256")) == before).all()
        devices = http.get("/status").json()["devices"]
        assert sum(device["deaths"] for device in devices) == 1


def test_sdxl_as_published_makes_texts_and_edits_side_by_side(
    tmp_path: Path, control: Path, tiny_models: Path
) -> None:
    weights = tmp_path / "weights.yaml"
    model = entry(str(tiny_models / "sdxl")) | {"dtype": "bfloat16", "offload": "none"}
    weights.write_text(yaml.safe_dump({"models": {"sdxl": model}}))
    with (
        client(tmp_path / "data", "--devices", "cuda:0", f"--weights={weights}") as http,
        ThreadPoolExecutor(8) as pool,
    ):
        jobs = [
            pool.submit(edit, http, "sdxl", seed)
            if seed % 2
            else pool.submit(generate, http, "sdxl", seed, size="64x64")
            for seed in range(12)
        ]
        assert [job.result().status_code for job in jobs] == [200] * 12
        for timeout in (0.1, 0.2, 0.3):  # clients that hang up during an edit
            with pytest.raises(httpx.TimeoutException):
                http.post(
                    "/v1/images/edits",
                    data={"model": "sdxl", "prompt": "x", "size": "64x64", "steps": "50"},
                    files={"image": _picture()},
                    timeout=timeout,
                )
        assert generate(http, "sdxl", 1, size="64x64").status_code == 200


def _picture() -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", (64, 64), "blue").save(file, "PNG")
    return file.getvalue()
