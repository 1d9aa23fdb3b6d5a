"""Ten minutes at 1.2 times what the server can do: memory stays flat, refusals say when to return.

    python -m bench.soak [--minutes 10] [--load 1.2]

The shipped demo model on the CPU; Poisson arrivals of mixed sizes, steps and ways of answering,
some of whom hang up. Prints the memory of server and worker each half minute, and every kind of
answer.
"""

import argparse
import asyncio
import os
import platform
import random
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import httpx
import psutil

from tests.live import serving

SAMPLE_S = 30.0
LEAVES = 0.05
"""The share of clients who hang up early."""


async def ask(client: httpx.AsyncClient, rng: random.Random, answers: Counter[str]) -> None:
    """One request; its answer is counted, and a refusal must say when to come back."""
    body = {
        "model": "demo",
        "prompt": rng.choice(["a red circle", "一个大的绿色星形", "two blue squares"]),
        "size": rng.choice(["256x256", "512x512", "1024x1024"]),
        "steps": rng.choice([4, 8, 20]),
        "n": rng.choice([1, 1, 1, 2]),
        "stream": rng.random() < 0.1,
    }
    if not body["stream"]:  # which has no links
        body["response_format"] = rng.choice(["url", "b64_json"])
    timeout = rng.uniform(0.05, 0.5) if rng.random() < LEAVES else 300
    try:
        answer = await client.post("/v1/images/generations", json=body, timeout=timeout)
    except httpx.TimeoutException:
        answers["left"] += 1
        return
    kind = str(answer.status_code)
    if answer.status_code == 429 and "retry-after" not in answer.headers:
        kind += " without Retry-After"
    answers[kind] += 1


async def load(url: str, rate: float, until: float, answers: Counter[str]) -> None:
    """Poisson arrivals at `rate` a second until a moment of the monotonic clock."""
    rng, asked = random.Random(0), set[asyncio.Task[None]]()
    limits = httpx.Limits(max_connections=500)
    async with httpx.AsyncClient(base_url=url, limits=limits, trust_env=False) as client:
        while time.monotonic() < until:
            await asyncio.sleep(rng.expovariate(rate))
            task = asyncio.create_task(ask(client, rng, answers))
            asked.add(task)
            task.add_done_callback(asked.discard)
        await asyncio.gather(*asked)


async def capacity(url: str) -> float:
    """Requests a second that sixteen clients get answered."""
    begun, answers = time.monotonic(), Counter[str]()
    rng = random.Random(1)
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:

        async def work() -> None:
            while time.monotonic() < begun + 20:
                await ask(client, rng, answers)

        await asyncio.gather(*(work() for _ in range(16)))
    return answers["200"] / (time.monotonic() - begun)


def memory(server: psutil.Process) -> tuple[int, int]:
    """Resident bytes of the server, and of its workers."""
    workers = sum(child.memory_info().rss for child in server.children())
    return server.memory_info().rss, workers


async def soak(url: str, server: psutil.Process, minutes: float, times: float) -> None:
    """Loads the server, and prints what becomes of its memory."""
    rate = times * await capacity(url)
    print(f"{rate:.1f} requests a second, {times} times its capacity, for {minutes:g} minutes")
    answers, begun = Counter[str](), time.monotonic()
    loading = asyncio.create_task(load(url, rate, begun + 60 * minutes, answers))
    samples = []
    while not loading.done():
        await asyncio.wait({loading}, timeout=SAMPLE_S)
        samples.append((time.monotonic() - begun, *memory(server)))
        print("{:6.0f} s  server {:4.0f} MiB  workers {:4.0f} MiB".format(
            samples[-1][0], *(size / 2**20 for size in samples[-1][1:])
        ), flush=True)  # fmt: skip
    await loading
    print(dict(answers))
    report(samples)


def report(samples: Sequence[tuple[float, int, int]]) -> None:
    """How the last third of what was seen after a minute compares with the first, by medians:
    a sample catches pictures on their way, now and then."""
    settled = [sample for sample in samples if sample[0] > 60]
    third = max(1, len(settled) // 3)
    for column, name in ((1, "server"), (2, "workers")):
        sizes = [sample[column] for sample in settled]
        first, last = median(sizes[:third]), median(sizes[-third:])
        print(f"{name}: last third of the time / first {last / first - 1:+.1%}, highest sample "
              f"{max(sizes) / first - 1:+.1%} (wanted: within 5 %)")  # fmt: skip


def main() -> None:
    """The command line."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--minutes", type=float, default=10)
    arguments.add_argument("--load", type=float, default=1.2)
    asked = arguments.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores; demo model")
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), log=subprocess.DEVNULL) as url,
    ):
        [server] = [
            child
            for child in psutil.Process().children()
            if "darkroom" in " ".join(child.cmdline())
        ]
        asyncio.run(soak(url, server, asked.minutes, asked.load))


if __name__ == "__main__":
    main()
