"""Does the simulator tell the truth? One workload, run by a real worker process and simulated.

The demo model under Poisson arrivals of two step counts. The simulator is given the pass times that
the worker measured and kept on disk, and the same list of arrivals.

    python -m bench.agreement [--rounds 3] [--seconds 120] [--load 0.8]
"""

import argparse
import asyncio
import json
import os
import platform
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.simulation.arrivals import Arrival, Kind, arrivals, work_s
from bench.simulation.models import PassTime, Shape
from bench.simulation.run import Box, Figures, Simulation
from bench.simulation.ways import Ours
from pipelines.core import Job
from pipelines.curves import Curve
from pipelines.registry import Registry
from pipelines.times import SAVE_EVERY_S
from server.config import Config
from server.fleet import Fleet

MODEL = "demo"
SHORT, LONG = 8, 24
SIZE = 256
FIGURES = ("mean", "p95", "passes")


@dataclass(frozen=True, slots=True)
class Found:
    """Seconds: of waiting for an image, and of passes for each. Where the passes disagree, so does
    the rest: the machine was not as fast when it was measured."""

    images: int
    mean: float
    p95: float
    passes: float

    @classmethod
    def of(cls, latencies: Sequence[float], passes: float) -> "Found":
        """All of them, and the seconds of all passes."""
        figures = Figures.of(latencies)
        return cls(figures.images, figures.mean, figures.p95, passes / figures.images)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--seconds", type=float, default=120.0, help="of arrivals, each round")
    arguments.add_argument("--load", type=float, default=0.8, help="against one job at a time")
    asked = arguments.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores; {MODEL}, {SHORT} and {LONG} steps")
    heads = "".join(f"{'real ' + figure:>12}{'simulated':>11}" for figure in FIGURES)
    print(f"{'':10}{'images':>8}{heads}")
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measure(Path(folder), asked.rounds, asked.seconds, asked.load))
    for figure in FIGURES:
        ratios = [getattr(ours, figure) / getattr(real, figure) for real, ours in found]
        print(
            f"simulated / real, {figure}: {median(ratios):.3f}  "
            f"(from {min(ratios):.3f} to {max(ratios):.3f}; wanted: 0.85 to 1.15)"
        )


async def measure(
    folder: Path, rounds: int, seconds: float, load: float
) -> list[tuple[Found, Found]]:
    """(real, simulated) of each round; the worker's times are those that it had after it."""
    found = []
    async with fleet(folder) as real:
        await practise(real)
        for round_ in range(1, rounds + 1):
            kinds = kinds_of(await saved_shape(real, folder))
            asked = list(arrivals(kinds, load / work_s(kinds), round_, seconds))
            really = await run(real, asked)
            kinds = kinds_of(await saved_shape(real, folder))
            found.append((really, simulate(kinds, asked)))
            show(round_, *found[-1])
    return found


@asynccontextmanager
async def fleet(folder: Path) -> AsyncIterator[Fleet]:
    """One CPU worker, with the demo model loaded."""
    config = Config(data_dir=folder, devices=("cpu",), max_queue=10_000, max_wait_s=1e6)
    registry = Registry(config.weights, config.models_dir)
    real = Fleet(config, registry)
    await real.start()
    try:
        while not real.status().ready:
            await asyncio.sleep(0.1)
        yield real
    finally:
        await real.stop()


async def practise(real: Fleet) -> None:
    """So that passes of every number of rows have been measured."""
    for together in (1, 2, 4, 8, 16, 12, 6, 3, 1):
        jobs = [job(f"practice {together} {n}", SHORT) for n in range(together)]
        await asyncio.gather(*real.submit(jobs))


async def run(real: Fleet, asked: Sequence[Arrival]) -> Found:
    """Latencies from the moment at which each request was due."""
    begun = time.monotonic() + 0.1

    async def request(number: int, arrival: Arrival) -> tuple[float, float]:
        due = begun + arrival.at
        await asyncio.sleep(due - time.monotonic())
        image = await real.submit([job(f"{begun} {number}", arrival.kind.steps)])[0]
        return time.monotonic() - due, image.device_seconds

    each = await asyncio.gather(*(request(*each) for each in enumerate(asked)))
    return Found.of([latency for latency, _ in each], sum(seconds for _, seconds in each))


def job(id: str, steps: int) -> Job:
    """Every prompt another one: equal prompts would be encoded once."""
    return Job(
        id=id, model=MODEL, prompt=f"a red circle, {id}", width=SIZE, height=SIZE, seed=1,
        steps=steps, guidance_scale=0.0,
    )  # fmt: skip


async def saved_shape(real: Fleet, folder: Path) -> Shape:
    """The worker keeps its times now and then while it works: work, until they are newer."""
    begun = time.time()
    deadline = time.monotonic() + 2 * SAVE_EVERY_S
    while not any(file.stat().st_mtime > begun for file in (folder / "times").glob("*.json")):
        if time.monotonic() > deadline:
            raise TimeoutError("the worker keeps no times")
        await real.submit([job(f"until {time.monotonic()}", SHORT)])[0]
        await asyncio.sleep(0.5)
    return shape_of(next((folder / "times").glob("*.json")))


@dataclass(frozen=True, slots=True)
class Sum:
    """Passes that follow one another, as one."""

    parts: Sequence[PassTime]

    def at(self, rows: int) -> float:
        """Seconds of all of them."""
        return sum(part.at(rows) for part in self.parts)


def shape_of(file: Path) -> Shape:
    """The demo model by the measured times: kinds of passes by the component that they call."""
    curves: dict[str, list[PassTime]] = {}
    for key, kept in json.loads(file.read_text()).items():
        seconds = {int(rows): measured for rows, measured in kept["seconds"].items()}
        component = key.split("@")[0]
        curves.setdefault(component, []).append(Curve(seconds))
    text = [curve for name, found in curves.items() if "text_encoder" in name for curve in found]
    return Shape(
        MODEL, Sum(curves["transformer"]), encode=Sum(text), decode=Sum(curves["vae"]), size=SIZE
    )


def kinds_of(shape: Shape) -> Sequence[Kind]:
    """Half of the requests short, half long."""
    return (Kind("short", shape, SHORT), Kind("long", shape, LONG))


def simulate(kinds: Sequence[Kind], asked: Sequence[Arrival]) -> Found:
    """The same arrivals, with these times."""
    known = {kind.name: kind for kind in kinds}
    again = (Arrival(one.at, known[one.kind.name], one.caller) for one in asked)
    simulation = Simulation(Box(resident=((MODEL,),)), Ours(), again)
    result = simulation.run()
    latencies = [latency for kind in result.latencies.values() for latency in kind]
    return Found.of(latencies, result.busy * simulation.clock.now)


def show(round_: int, real: Found, simulated: Found) -> None:
    pairs = ((getattr(real, figure), getattr(simulated, figure)) for figure in FIGURES)
    numbers = "".join(f"{theirs:12.3f}{ours:11.3f}" for theirs, ours in pairs)
    print(f"round {round_:<4}{real.images:8}{numbers}", flush=True)


if __name__ == "__main__":
    main()
