"""Our server beside other ways to serve the same weights: ratios, over several rounds in one run.

    python -m bench.side_by_side [--rounds 5] [--seconds 15] [--only throughput ...]

A tiny Flux, so that what is compared is scheduling. Every server is a process of its own with one
thread for torch, warmed, and idle while another is measured; the order turns round each round.
"""

import argparse
import os
import platform
import random
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import torch
import yaml
from diffusers import FluxPipeline, FluxTransformer2DModel

from bench.load import Request, at_once, latencies, poisson, rival
from tests import tiny
from tests.conftest import entry
from tests.live import serving

SMALL, PROPORTIONAL = "64x64", "512x512"
CLIENTS = 16
STEPS, FEW = 20, 4
SHORT, LONG = 8, 40
OVERLOAD = (12, 20, 28)
DEEP = {"num_layers": 8, "num_single_layers": 16}
"""Layers, so that a pass takes some 10 ms: beside passes of 1 ms, what every lane does by itself
between two of them would be measured."""
LONG_SHARE = 5  # one in so many is long


@dataclass
class Bench:
    """The servers' URLs by name, and how much to measure."""

    urls: dict[str, str]
    rounds: int
    seconds: float

    def each_round(self, *names: str) -> Iterable[tuple[int, list[str]]]:
        """The rounds, and the servers in the order of each."""
        for number in range(self.rounds):
            yield number, list(names[:: 1 if number % 2 else -1])

    def capacity(self, size: str, *steps: int) -> float:
        """Images per second, one at a time, of the pipeline behind a lock."""
        requests = [Request(0, steps[n % len(steps)], size, n) for n in range(4 * len(steps) + 4)]
        return statistics.median(at_once(self.urls["lock"], requests, 1) for _ in range(3))


def throughput(bench: Bench) -> None:
    """Sixteen clients, each asking again when it has its image."""
    rates: dict[str, list[float]] = {name: [] for name in ("ours", "lock", "scoped")}
    for number, names in bench.each_round(*rates):
        for name in names:
            requests = [Request(0, STEPS, SMALL, 1000 * number + n) for n in range(3 * CLIENTS)]
            rates[name].append(at_once(bench.urls[name], requests, CLIENTS))
    show("throughput, 16 at once: ours / a lock", rates["ours"], rates["lock"], "at least 2.5")
    show("  ours / request-scoped copies", rates["ours"], rates["scoped"], "at least 2")


def overload(bench: Bench) -> None:
    """More than one at a time could do: company has to carry it. All alike, and three lengths."""
    for name, steps in (("equal jobs", OVERLOAD[1:2]), ("three lengths", OVERLOAD)):
        rate = 1.5 * bench.capacity(SMALL, *steps)
        tails: dict[str, list[float]] = {name: [] for name in ("ours", "window")}
        for number, names in bench.each_round(*tails):
            asked = poisson(rate, int(rate * bench.seconds), random.Random(number), steps, SMALL)
            for way in names:
                tails[way].append(p95(took for _, took in latencies(bench.urls[way], asked)))
        what = f"p95 at 1.5x capacity, {name}: ours / window"
        show(what, tails["ours"], tails["window"], "at most 0.6")


def mixed(bench: Bench) -> None:
    """Short jobs among long ones, at 0.8 of what one at a time can do."""
    steps = [SHORT] * (LONG_SHARE - 1) + [LONG]
    rate = 0.8 * bench.capacity(SMALL, *steps)
    tails: dict[str, dict[int, list[float]]] = {n: {SHORT: [], LONG: []} for n in ("ours", "lock")}
    for number, names in bench.each_round(*tails):
        asked = poisson(rate, int(rate * bench.seconds), random.Random(number), steps, SMALL)
        for name in names:
            found = latencies(bench.urls[name], asked)
            for kind, values in tails[name].items():
                values.append(p95(took for request, took in found if request.steps == kind))
    ours, fifo = tails["ours"], tails["lock"]
    show("p95 of 8 steps among 40: ours / FIFO", ours[SHORT], fifo[SHORT], "at most 0.2")
    show("  of the 40 steps", ours[LONG], fifo[LONG], "at most 1.3")


def proportional(bench: Bench) -> None:
    """A size at which a pass takes as much longer as it has more rows: company cannot help."""
    rate = 0.8 * bench.capacity(PROPORTIONAL, FEW)
    means: dict[str, list[float]] = {name: [] for name in ("ours", "lock")}
    for number, names in bench.each_round(*means):
        count = max(20, int(rate * bench.seconds))
        asked = poisson(rate, count, random.Random(number), [FEW], PROPORTIONAL)
        for name in names:
            found = latencies(bench.urls[name], asked)
            means[name].append(statistics.mean(took for _, took in found))
    show("mean, passes proportional: ours / FIFO", means["ours"], means["lock"], "at most 1.05")


MEASURES: dict[str, Callable[[Bench], None]] = {
    "throughput": throughput,
    "overload": overload,
    "mixed": mixed,
    "proportional": proportional,
}


def main() -> None:
    """Starts everything, warms it, measures."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=float, default=15, help="of arrivals, each round")
    arguments.add_argument("--only", nargs="*", choices=MEASURES, default=list(MEASURES))
    asked = arguments.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, 1 thread each; torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as servers:
        bench = Bench(start(Path(folder), servers), asked.rounds, asked.seconds)
        for size, steps in ((SMALL, STEPS), (PROPORTIONAL, FEW)):
            for url in bench.urls.values():
                at_once(url, [Request(0, steps, size, n) for n in range(2 * CLIENTS)], CLIENTS)
        for name in asked.only:
            MEASURES[name](bench)


def start(folder: Path, servers: ExitStack) -> dict[str, str]:
    """Every server, by name."""
    weights = str(deepened(tiny.build("flux", folder)))
    file = folder / "weights.yaml"
    native = {"smallest": 64, "largest": 512, "multiple": 16}
    spec = entry(weights) | {"preload": True, "native": native}
    file.write_text(yaml.safe_dump({"models": {"m": spec}}))
    options = ["--weights", str(file), "--devices", "cpu", "--max-queue", "1000"]
    log = subprocess.DEVNULL
    urls = {"ours": servers.enter_context(serving(folder / "data", *options, log=log))}
    for way in ("lock", "scoped", "window"):
        urls[way] = servers.enter_context(rival(way, weights, threads=1))
    return urls


def deepened(weights: Path) -> Path:
    """The same pipeline, with more layers."""
    pipe = FluxPipeline.from_pretrained(weights)
    pipe.transformer = FluxTransformer2DModel.from_config({**pipe.transformer.config, **DEEP})
    folder = weights.with_name("deep")
    pipe.save_pretrained(folder, safe_serialization=True)
    return folder


def p95(values: Iterable[float]) -> float:
    """The 95th percentile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]


def show(what: str, above: Sequence[float], below: Sequence[float], wanted: str) -> None:
    """The median of a round's ratios, their range, and the medians of both sides."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    print(
        f"{what:50} {statistics.median(ratios):5.2f}  "
        f"(from {min(ratios):.2f} to {max(ratios):.2f}; "
        f"wanted: {wanted}; {statistics.median(above):.3g} / {statistics.median(below):.3g})",
        flush=True,
    )


if __name__ == "__main__":
    main()
