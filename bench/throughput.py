"""What serving costs and what company brings: the server over HTTP against the bare `pipe()` loop.

Three ways to make the same images with a tiny Flux at 64 px, in turn, in one run; the ratios are
medians over the rounds. The server is the real one, in its own process, as a user starts it.

    python -m bench.throughput [--rounds 7] [--images 16] [--steps 20]
"""

import argparse
import io
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # as many threads for the bare loop as for the server's worker

import httpx
import torch
import yaml

from tests import tiny
from tests.conftest import entry
from tests.live import serving

TOGETHER = 16


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--images", type=int, default=16, help="per way and round")
    arguments.add_argument("--steps", type=int, default=20)
    asked = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        weights = prepare(Path(folder))
        bare = bare_loop(weights.parent / "flux", asked.steps)
        options = ["--weights", str(weights), "--devices", "cpu"]
        limits = httpx.Limits(max_connections=TOGETHER)
        with (
            serving(Path(folder) / "data", *options, log=subprocess.DEVNULL) as url,
            httpx.Client(base_url=url, timeout=60, limits=limits, trust_env=False) as client,
        ):
            served = lambda seed: request(client, seed, asked.steps)  # noqa: E731
            report(measure(bare, served, asked.rounds, asked.images), asked)


def prepare(folder: Path) -> Path:
    """A weights.yaml with the tiny Flux, preloaded."""
    tiny.build("flux", folder)
    file = folder / "weights.yaml"
    file.write_text(yaml.safe_dump({"models": {"flux": entry("flux") | {"preload": True}}}))
    return file


def bare_loop(folder: Path, steps: int) -> Callable[[int], None]:
    """Make one image as diffusers' own documentation does, and encode it."""
    from diffusers import FluxPipeline

    torch.set_num_threads(1)
    pipe = FluxPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)

    def make(seed: int) -> None:
        image = pipe(
            prompt=f"a fox {seed}",
            width=64,
            height=64,
            num_inference_steps=steps,
            guidance_scale=3.5,
            generator=torch.Generator().manual_seed(seed),
            max_sequence_length=32,
        ).images[0]
        image.save(io.BytesIO(), "PNG")

    return make


def request(client: httpx.Client, seed: int, steps: int) -> None:
    answer = client.post(
        "/v1/images/generations",
        json={
            "model": "flux",
            "prompt": f"a fox {seed}",
            "size": "64x64",
            "seed": seed,
            "steps": steps,
            "guidance_scale": 3.5,
            "response_format": "b64_json",
        },
    )
    answer.raise_for_status()


Rate = dict[str, list[float]]


def measure(
    bare: Callable[[int], None], served: Callable[[int], None], rounds: int, images: int
) -> Rate:
    """Images per second of each way, by round; the order of the ways turns round each time."""
    ways: dict[str, Callable[[int], float]] = {
        "bare pipe() loop": lambda base: one_by_one(bare, base, images),
        "server, one at a time": lambda base: one_by_one(served, base, images),
        f"server, {TOGETHER} at once": lambda base: at_once(served, base, images),
    }
    for way in ways.values():
        way(0)
    rates: Rate = {name: [] for name in ways}
    for round_ in range(rounds):
        for name in list(ways)[:: 1 if round_ % 2 else -1]:
            rates[name].append(ways[name]((round_ + 1) * 1000))
    return rates


def one_by_one(make: Callable[[int], None], base: int, images: int) -> float:
    begun = time.perf_counter()
    for seed in range(base, base + images):
        make(seed)
    return images / (time.perf_counter() - begun)


def at_once(make: Callable[[int], None], base: int, images: int) -> float:
    """Three waves' worth, so that the tail of the last one weighs little."""
    seeds = range(base, base + 3 * max(images, TOGETHER))
    begun = time.perf_counter()
    with ThreadPoolExecutor(TOGETHER) as clients:
        list(clients.map(make, seeds))
    return len(seeds) / (time.perf_counter() - begun)


def report(rates: Rate, asked: argparse.Namespace) -> None:
    bare, alone, together = rates
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, 1 thread; "
        f"torch {torch.__version__}; tiny Flux, 64x64, {asked.steps} steps; "
        f"{asked.rounds} rounds of {asked.images} images"
    )
    for name, values in rates.items():
        print(f"{name:24} {statistics.median(values):7.2f} images/s")
    show("server alone / bare loop", rates[alone], rates[bare], "at least 0.90")
    show(f"{TOGETHER} at once / one at a time", rates[together], rates[alone], "at least 2.5")


def show(what: str, above: list[float], below: list[float], wanted: str) -> None:
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    print(
        f"{what:28} {statistics.median(ratios):5.2f}  "
        f"(from {min(ratios):.2f} to {max(ratios):.2f}; wanted: {wanted})"
    )


if __name__ == "__main__":
    main()
