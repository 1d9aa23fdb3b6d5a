"""Requests while workers are killed, at random or by one of them: every answer comes, and is right.

The long run of it is `bench/kill.py`.
"""

import base64
import io
import os
import random
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.live import serving

REQUESTS = int(os.environ.get("DARKROOM_TEST_KILLED_REQUESTS", "120"))
CLIENTS = 12
KILL_EVERY_S = float(os.environ.get("DARKROOM_TEST_KILL_EVERY_S", "2"))
KILLS = int(os.environ.get("DARKROOM_TEST_KILLS", "5"))
"""At most; each costs the start of a worker."""

SEEDS = 8
OTHERS = 10
POISON = Path(__file__).with_name("poison")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server whose workers end where a prompt is poison, and never else."""
    data = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(POISON))
        with serving(data, "--devices", "cpu,cpu", log=subprocess.DEVNULL) as base_url:
            yield base_url


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[httpx.Client]:
    limits = httpx.Limits(max_connections=CLIENTS + 1)
    with httpx.Client(base_url=url, trust_env=False, timeout=280, limits=limits) as client:
        yield client


@pytest.fixture(scope="module")
def in_peace(client: httpx.Client) -> list[np.ndarray]:
    return [picture(client, seed) for seed in range(SEEDS)]


def ask(client: httpx.Client, seed: int, prompt: str = "a large red circle") -> httpx.Response:
    body = {"model": "demo", "prompt": prompt, "size": "256x256", "seed": seed, "steps": 6}
    return client.post("/v1/images/generations", json=body | {"response_format": "b64_json"})


def picture(client: httpx.Client, seed: int) -> np.ndarray:
    answer = ask(client, seed)
    assert answer.status_code == 200, answer.text
    file = base64.b64decode(answer.json()["data"][0]["b64_json"])
    return np.asarray(Image.open(io.BytesIO(file))).astype(int)


def deaths(client: httpx.Client) -> int:
    return sum(device["deaths"] for device in client.get("/status").json()["devices"])


def kill_workers(client: httpx.Client, done: threading.Event) -> int:
    """Again and again a random worker that has something to lose; returns how many."""
    rng, killed = random.Random(0), 0
    while killed < KILLS and not done.wait(KILL_EVERY_S):
        busy = []
        while not busy and not done.wait(0.02):
            devices = client.get("/status").json()["devices"]
            busy = [it["pid"] for it in devices if it["state"] == "ready" and it["lanes"]]
        if busy:
            os.kill(rng.choice(busy), signal.SIGKILL)
            killed += 1
    return killed


def test_every_answer_comes_whatever_dies(client: httpx.Client, in_peace: list[np.ndarray]) -> None:
    """Also jobs that see one death after the other."""
    done = threading.Event()
    with ThreadPoolExecutor(CLIENTS) as clients, ThreadPoolExecutor(1) as killer:
        killing = killer.submit(kill_workers, client, done)
        try:
            made = list(clients.map(lambda n: picture(client, n % SEEDS), range(REQUESTS)))
        finally:
            done.set()
        assert killing.result() >= 2, "too little was killed to show anything"
    assert len(made) == REQUESTS
    for n, image in enumerate(made):
        assert np.abs(image - in_peace[n % SEEDS]).max() <= 1


def test_a_job_that_kills_is_answered_with_an_error_and_no_other_is(
    client: httpx.Client, in_peace: list[np.ndarray]
) -> None:
    before = deaths(client)
    with ThreadPoolExecutor(OTHERS + 1) as clients:
        first = [clients.submit(picture, client, n % SEEDS) for n in range(OTHERS // 2)]
        poison = clients.submit(ask, client, 0, "poison SIGSEGV")
        rest = [clients.submit(picture, client, n % SEEDS) for n in range(OTHERS // 2, OTHERS)]
        made = [each.result() for each in first + rest]
    answer = poison.result()
    assert answer.status_code == 500
    assert "each time it ran this request alone" in answer.json()["error"]["message"]
    assert answer.headers["x-should-retry"] == "false"
    for n, image in enumerate(made):
        assert np.abs(image - in_peace[n % SEEDS]).max() <= 1
    halvings, alone, strays = 4, 2, 5
    assert deaths(client) - before <= 1 + halvings + alone + strays
