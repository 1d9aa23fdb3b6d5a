"""What one user waits: the shipped demo model over HTTP, one 1024x1024 image at a time.

python -m bench.latency [--images 20]
"""

import argparse
import os
import platform
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import httpx

from tests.live import serving


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--images", type=int, default=20)
    asked = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        with (
            serving(Path(folder), log=subprocess.DEVNULL) as url,
            httpx.Client(base_url=url, trust_env=False) as client,
        ):
            ready = time.perf_counter() - begun
            image(client, 0)
            seconds = sorted(image(client, seed) for seed in range(1, asked.images + 1))
    print(f"{platform.machine()}, {os.cpu_count()} cores")
    print(f"from the command to ready: {ready:.1f} s")
    print(
        f"1024x1024 over HTTP, {asked.images} images: median {statistics.median(seconds):.3f} s, "
        f"from {seconds[0]:.3f} to {seconds[-1]:.3f} s"
    )


def image(client: httpx.Client, seed: int) -> float:
    """The seconds from the request to the last byte of its image."""
    body = {"model": "gpt-image-1", "prompt": f"a large red circle {seed}", "seed": seed}
    begun = time.perf_counter()
    client.post("/v1/images/generations", json=body, timeout=60).raise_for_status()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
