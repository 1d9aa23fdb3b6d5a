"""Two hundred requests while workers are killed: every answer comes, and is right."""

import base64
import io
import os
import random
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.live import serving

REQUESTS = int(os.environ.get("DARKROOM_TEST_KILLED_REQUESTS", "200"))
CLIENTS = 16
KILL_EVERY = 50
"""Answers; more than two for each client, so that whoever was there at the last death has its own.
A job that sees two deaths is not tried again, and rightly."""
ENOUGH = REQUESTS // KILL_EVERY - 2
SEEDS = 8


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = tmp_path_factory.mktemp("data")
    with serving(data, "--devices", "cpu,cpu", log=subprocess.DEVNULL) as base_url:
        yield base_url


def picture(client: httpx.Client, seed: int) -> np.ndarray:
    body = {"model": "demo", "prompt": "a large red circle", "size": "256x256", "seed": seed}
    answer = client.post(
        "/v1/images/generations", json=body | {"response_format": "b64_json", "steps": 6}
    )
    assert answer.status_code == 200, answer.text
    file = base64.b64decode(answer.json()["data"][0]["b64_json"])
    return np.asarray(Image.open(io.BytesIO(file))).astype(int)


def kill_workers(client: httpx.Client, answered: list[int], done: threading.Event) -> int:
    """Again and again a random worker that has something to lose; returns how many."""
    rng, killed, at_last = random.Random(0), 0, 0
    while not done.wait(0.05):
        if len(answered) < at_last + KILL_EVERY:
            continue
        devices = client.get("/status").json()["devices"]
        busy = [device["pid"] for device in devices if device["pid"] and device["lanes"]]
        if busy:
            os.kill(rng.choice(busy), signal.SIGKILL)
            killed, at_last = killed + 1, len(answered)
    return killed


def test_every_answer_comes_whatever_dies(url: str) -> None:
    limits = httpx.Limits(max_connections=CLIENTS + 1)
    done = threading.Event()
    with (
        httpx.Client(base_url=url, trust_env=False, timeout=120, limits=limits) as client,
        ThreadPoolExecutor(CLIENTS) as clients,
        ThreadPoolExecutor(1) as killer,
    ):
        in_peace = [picture(client, seed) for seed in range(SEEDS)]
        answered = list[int]()
        killing = killer.submit(kill_workers, client, answered, done)

        def one(n: int) -> np.ndarray:
            made = picture(client, n % SEEDS)
            answered.append(n)
            return made

        try:
            pictures = list(clients.map(one, range(REQUESTS)))
        finally:
            done.set()
        assert killing.result() >= ENOUGH, "too little was killed to show anything"
    assert len(pictures) == REQUESTS
    for n, made in enumerate(pictures):
        assert np.abs(made - in_peace[n % SEEDS]).max() <= 1
