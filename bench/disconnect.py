"""From a client's disconnect to a free lane, against the length of a step: a long job, cut off.

    python -m bench.disconnect [--rounds 20]

The shipped demo model. `/status` says when the lanes are free, and is asked no faster than the
server answers: the figures are upper bounds.
"""

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from tests.live import serving

STEPS = 400


def main() -> None:
    """Measures a step, then cuts off jobs of many steps, streaming or not, with n 1 and 4."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=20)
    rounds = arguments.parse_args().rounds
    print(f"{platform.machine()}, {os.cpu_count()} cores; demo model, {STEPS} steps")
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), log=subprocess.DEVNULL) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=60) as client,
    ):
        for n in (1, 4):
            step = a_step(client, n)
            for stream in (False, True):
                found = sorted(cut_off(client, url, n, stream) for _ in range(rounds))
                beyond = 1000 * (statistics.median(found) - step)
                print(
                    f"n={n}, {'streamed' if stream else 'at once '}: a step {1000 * step:5.1f} ms; "
                    f"free after {1000 * statistics.median(found):5.1f} ms, median "
                    f"(at most {1000 * found[-1]:.1f}); beyond a step {beyond:5.1f} ms "
                    "(wanted: at most 50)"
                )


def body(n: int, stream: bool, steps: int) -> dict[str, object]:
    """A request for the demo model."""
    return {
        "model": "demo", "prompt": "a red circle", "size": "256x256", "n": n, "seed": 1,
        "steps": steps, "stream": stream,
    }  # fmt: skip


def a_step(client: httpx.Client, n: int) -> float:
    """Seconds of a step of n images at once."""
    seconds = {}
    for steps in (20, 120, 20, 120):
        begun = time.perf_counter()
        asked = body(n, False, steps)
        client.post("/v1/images/generations", json=asked).raise_for_status()
        seconds[steps] = time.perf_counter() - begun
    return (seconds[120] - seconds[20]) / 100


def cut_off(client: httpx.Client, url: str, n: int, stream: bool) -> float:
    """Seconds from closing the connection of running jobs until no lane is left."""
    address = urlsplit(url)
    content = json.dumps(body(n, stream, STEPS)).encode()
    head = (
        f"POST /v1/images/generations HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    with socket.create_connection((address.hostname or "", address.port or 0)) as connection:
        connection.sendall(head.encode() + content)
        while lanes(client) < n:
            time.sleep(0.01)
        time.sleep(0.1)
    closed = time.perf_counter()
    while lanes(client):
        pass
    return time.perf_counter() - closed


def lanes(client: httpx.Client) -> int:
    """Jobs under way."""
    return sum(device["lanes"] for device in client.get("/status").json()["devices"])


if __name__ == "__main__":
    main()
