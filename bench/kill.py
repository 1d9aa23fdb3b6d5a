"""Requests while workers are killed at random, and a request that kills every worker it runs on.

    python -m bench.kill [--requests 600] [--every 4 2] [--others 60] [--signal SIGKILL]

The shipped demo model on two CPU workers. Every few seconds a random worker that is ready and has
jobs gets a SIGKILL. Each image is compared with the one that was made in peace.
"""

import argparse
import base64
import io
import os
import platform
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from tests.live import serving

SEEDS = 8
POISON = Path(__file__).parents[1] / "tests" / "poison"


def main() -> None:
    """Prints a row of a table for each run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=600)
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--every", type=float, nargs="*", default=[4.0, 2.0], help="seconds")
    parser.add_argument("--others", type=int, default=60, help="beside the job that kills; 0: none")
    parser.add_argument("--signal", nargs="*", default=["SIGKILL", "SIGSEGV"])
    parser.add_argument("--devices", default="cpu,cpu")
    parser.add_argument("--log", default=os.devnull, help="the file for the server's log")
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores; demo model, {options.steps} steps")
    for every in options.every:
        print(killed_at_random(options, every), flush=True)
    for name in options.signal if options.others else ():
        print(poisoned(options, name), flush=True)


@dataclass
class Run:
    """What became of the requests of one run."""

    name: str
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    furthest: int = 0
    deaths: int = 0
    wall_s: float = 0.0

    def __str__(self) -> str:
        middle, late, last = np.percentile(self.seconds or [0.0], [50, 95, 100])
        return (
            f"{self.name}: {dict(self.statuses)}, {self.deaths} workers died, images differ by at "
            f"most {self.furthest}/255; {self.wall_s:.0f} s in all; an image took {middle:.1f} s "
            f"(median), {late:.1f} s (95 %), {last:.1f} s (longest)"
        )


class Client:
    """Asks for images and compares them with those made in peace."""

    def __init__(self, url: str, clients: int, steps: int) -> None:
        limits = httpx.Limits(max_connections=clients + 1)
        self.http = httpx.Client(base_url=url, trust_env=False, timeout=900, limits=limits)
        self._steps = steps
        self._in_peace: list[np.ndarray] = []
        self._in_peace = [self._pixels(self.ask(seed)) for seed in range(SEEDS)]

    def ask(self, seed: int, prompt: str = "a large red circle") -> httpx.Response:
        """One image of 256x256."""
        body = {
            "model": "demo", "prompt": prompt, "size": "256x256", "seed": seed % SEEDS,
            "steps": self._steps, "response_format": "b64_json",
        }  # fmt: skip
        return self.http.post("/v1/images/generations", json=body)

    def measure(self, number: int, run: Run) -> None:
        """Ask for an image and note what came of it."""
        begun = time.perf_counter()
        while (answer := self.ask(number)).status_code == 429:
            time.sleep(int(answer.headers["retry-after"]))
        run.statuses[answer.status_code] += 1
        if answer.status_code == 200:
            run.seconds.append(time.perf_counter() - begun)
            difference = self._pixels(answer) - self._in_peace[number % SEEDS]
            run.furthest = max(run.furthest, int(np.abs(difference).max()))
        else:
            print(answer.text)

    def devices(self) -> list[dict[str, object]]:
        """What `/status` says of each."""
        found: list[dict[str, object]] = self.http.get("/status").json()["devices"]
        return found

    def deaths(self) -> int:
        """Of all workers so far."""
        return sum(int(str(device["deaths"])) for device in self.devices())

    @staticmethod
    def _pixels(answer: httpx.Response) -> np.ndarray:
        file = base64.b64decode(answer.raise_for_status().json()["data"][0]["b64_json"])
        return np.asarray(Image.open(io.BytesIO(file))).astype(int)


@contextmanager
def served(options: argparse.Namespace, clients: int) -> Iterator[Client]:
    """A server of its own for each run."""
    arguments = ("--devices", options.devices, "--max-queue", "256")
    with (
        tempfile.TemporaryDirectory() as folder,
        open(options.log, "a") as log,
        serving(Path(folder), *arguments, log=log.fileno()) as url,
    ):
        yield Client(url, clients, options.steps)


def killed_at_random(options: argparse.Namespace, every_s: float) -> Run:
    """Requests of some clients, one after the other each, while workers are killed."""
    run = Run(f"{options.requests} requests, a kill every {every_s:g} s")
    done = threading.Event()
    with (
        served(options, options.clients) as client,
        ThreadPoolExecutor(options.clients) as clients,
        ThreadPoolExecutor(1) as killer,
    ):
        begun = time.monotonic()
        killing = killer.submit(kill_workers, client, every_s, done)
        list(clients.map(lambda number: client.measure(number, run), range(options.requests)))
        done.set()
        run.deaths, run.wall_s = killing.result(), time.monotonic() - begun
    return run


def kill_workers(client: Client, every_s: float, done: threading.Event) -> int:
    """A random worker that is ready and has jobs, again and again; returns how many."""
    rng, killed = random.Random(0), 0
    while not done.wait(every_s):
        busy = [it["pid"] for it in client.devices() if it["state"] == "ready" and it["lanes"]]
        if busy:
            os.kill(int(str(rng.choice(busy))), signal.SIGKILL)
            killed += 1
    return killed


def poisoned(options: argparse.Namespace, name: str) -> Run:
    """All at once: some requests, and in their midst one that ends every worker it runs on."""
    run = Run(f"one of {options.others + 1} requests ends its worker by {name}")
    os.environ["PYTHONPATH"] = str(POISON)
    with (
        served(options, options.others + 1) as client,
        ThreadPoolExecutor(options.others + 1) as clients,
    ):
        begun = time.monotonic()
        half = options.others // 2
        first = [clients.submit(client.measure, number, run) for number in range(half)]
        poison = clients.submit(client.ask, 1, f"poison {name}")
        rest = [clients.submit(client.measure, n, run) for n in range(half, options.others)]
        for each in first + rest:
            each.result()
        innocent_s = time.monotonic() - begun
        answer = poison.result()
        run.name += f" (answered {answer.status_code}; the others done after {innocent_s:.0f} s)"
        run.deaths, run.wall_s = client.deaths(), time.monotonic() - begun
    del os.environ["PYTHONPATH"]
    return run


if __name__ == "__main__":
    main()
