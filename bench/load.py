"""Clients for the benches: so many at once, or arriving by Poisson; and the servers they ask."""

import asyncio
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import httpx


@dataclass(frozen=True)
class Request:
    """One image: when it is asked for, in seconds from the start, and what is asked."""

    at: float
    steps: int
    size: str
    seed: int

    @property
    def body(self) -> dict[str, object]:
        """For our server and the rivals alike."""
        return {
            "model": "m",
            "prompt": f"a fox {self.seed}",
            "size": self.size,
            "seed": self.seed,
            "steps": self.steps,
            "guidance_scale": 0.0,
            "response_format": "b64_json",
        }


@contextmanager
def rival(way: str, folder: str, threads: int) -> Iterator[str]:
    """The base URL of one of `bench.rivals`, in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "bench.rivals", way, folder, str(port)],
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                httpx.get(f"{url}/readyz", trust_env=False)
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield url
    finally:
        server.kill()


def poisson(
    rate: float, count: int, rng: random.Random, steps: Sequence[int], size: str
) -> list[Request]:
    """So many requests at a mean rate per second, with steps drawn evenly from a sequence."""
    at, found = 0.0, []
    for seed in range(count):
        at += rng.expovariate(rate)
        found.append(Request(at, rng.choice(steps), size, seed))
    return found


def latencies(url: str, requests: Sequence[Request]) -> list[tuple[Request, float]]:
    """Every request with the seconds until its image was there; none may fail."""
    return asyncio.run(_all(url, requests))


def at_once(url: str, requests: Sequence[Request], clients: int) -> float:
    """Images per second with so many clients, each asking again when it has its image."""
    begun = time.perf_counter()
    asyncio.run(_in_turn(url, list(requests), clients))
    return len(requests) / (time.perf_counter() - begun)


async def _all(url: str, requests: Sequence[Request]) -> list[tuple[Request, float]]:
    async with _client(url) as client:
        begun = time.perf_counter()

        async def one(request: Request) -> tuple[Request, float]:
            await asyncio.sleep(max(0.0, begun + request.at - time.perf_counter()))
            asked = time.perf_counter()
            await _ask(client, request)
            return request, time.perf_counter() - asked

        return list(await asyncio.gather(*map(one, requests)))


async def _in_turn(url: str, requests: list[Request], clients: int) -> None:
    async with _client(url) as client:

        async def work() -> None:
            while requests:
                await _ask(client, requests.pop())

        await asyncio.gather(*(work() for _ in range(clients)))


def _client(url: str) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=500, max_keepalive_connections=64)
    return httpx.AsyncClient(base_url=url, timeout=300, limits=limits, trust_env=False)


async def _ask(client: httpx.AsyncClient, request: Request) -> None:
    answer = await client.post("/v1/images/generations", json=request.body)
    answer.raise_for_status()
