"""Does the simulator tell the truth? One workload, run by the real engine and simulated.

A tiny Flux whose denoiser takes a set time for its rows, asleep, under Poisson arrivals of two step
counts. The simulator is given that time, what the engine measured of the text encoders and the
autoencoder, and the same list of arrivals. All but the denoiser is real: pipelines, lanes, policy,
merging. What it shows is whether the same jobs wait for each other, not what a model takes.

    python -m bench.agreement [--rounds 5] [--seconds 60] [--load 0.8]
"""

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from bench.gpu import Bench
from bench.simulation.arrivals import Arrival, Kind, arrivals, work_s
from bench.simulation.models import Line, PassTime, Shape
from bench.simulation.run import Box, Figures, Simulation
from bench.simulation.ways import Ours
from pipelines.core import Job
from pipelines.lanes.joins import Stage
from pipelines.lanes.memory import Memory
from pipelines.models.loader import Resident, load
from pipelines.registry import ModelSpec
from tests import tiny
from tests.conftest import entry

STEP = Line(0.012, 0.003)
SHORT, LONG = 8, 24
SIZE = 64
FIGURES = ("mean", "p50", "p95")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=float, default=60.0, help="of arrivals, each round")
    arguments.add_argument("--load", type=float, default=0.8, help="against one job at a time")
    asked = arguments.parse_args()
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    print(f"{platform.machine()}, {os.cpu_count()} cores; {SHORT} and {LONG} steps")
    heads = "".join(f"{'real ' + figure:>12}{'simulated':>11}" for figure in FIGURES)
    print(f"{'':10}{'images':>8}{heads}")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(paced_model(Path(folder)), "cpu")
    found = measure(bench, asked.rounds, asked.seconds, asked.load)
    for figure in FIGURES:
        ratios = [getattr(ours, figure) / getattr(real, figure) for real, ours in found]
        print(
            f"simulated / real, {figure}: {median(ratios):.3f}  "
            f"(from {min(ratios):.3f} to {max(ratios):.3f}; wanted: 0.85 to 1.15)"
        )


def paced_model(folder: Path) -> Resident:
    """A tiny model whose denoiser predicts its own input, and takes its time."""
    spec = ModelSpec.model_validate(entry("x"))
    model = load(spec, tiny.build("flux", folder), "cpu", Memory(2**24))
    for meeting in model.meetings:
        if meeting.join.stage is Stage.DENOISE:
            meeting._method = paced
    return model


def paced(**arguments: Any) -> tuple[torch.Tensor]:
    """A pass of the time that `STEP` says."""
    latents = arguments["hidden_states"]
    time.sleep(STEP.at(len(latents)))
    return (latents[:],)


def measure(
    bench: Bench, rounds: int, seconds: float, load: float
) -> list[tuple[Figures, Figures]]:
    """(real, simulated) of each round."""
    found = []
    for together in (1, 2, 4, 8, 12, 6, 3, 1):
        bench.run([job(f"practice {together} {n}", SHORT) for n in range(together)])
    for round_ in range(1, rounds + 1):
        kinds = kinds_of(bench)
        asked = list(arrivals(kinds, load / work_s(kinds), round_, seconds))
        jobs = [(one.at, job(f"{round_} {n}", one.kind.steps)) for n, one in enumerate(asked)]
        real = Figures.of(list(bench.arriving(jobs, in_turn=False).values()))
        found.append((real, simulate(kinds_of(bench), asked)))
        show(round_, *found[-1])
    return found


def job(id: str, steps: int) -> Job:
    """Every prompt another one: equal prompts would be encoded once."""
    return Job(
        id=id, model="m", prompt=f"a fox {id}", width=SIZE, height=SIZE, seed=1,
        steps=steps, guidance_scale=0.0,
    )  # fmt: skip


class Sum:
    """Passes that follow one another, as one."""

    def __init__(self, parts: Sequence[PassTime]) -> None:
        self._parts = parts

    def at(self, rows: int) -> float:
        """Seconds of all of them."""
        return sum(part.at(rows) for part in self._parts)


def kinds_of(bench: Bench) -> Sequence[Kind]:
    """Half of the requests short, half long; what is not paced takes what the engine measured."""
    ends: dict[Stage, list[PassTime]] = {Stage.ENCODE: [], Stage.DECODE: []}
    stages = {meeting.name: meeting.join.stage for meeting in bench.model.meetings}
    for key, curve in bench.policy.curves.all().items():
        ends.get(stages[key.partition(":")[0]], []).append(curve)
    encode, decode = (Sum(parts) for parts in ends.values())
    shape = Shape("m", STEP, encode=encode, decode=decode, size=SIZE)
    return (Kind("short", shape, SHORT), Kind("long", shape, LONG))


def simulate(kinds: Sequence[Kind], asked: Sequence[Arrival]) -> Figures:
    """The same arrivals, with these times."""
    known = {kind.name: kind for kind in kinds}
    again = (Arrival(one.at, known[one.kind.name], one.caller) for one in asked)
    result = Simulation(Box(resident=(("m",),)), Ours(), again).run()
    return Figures.of([latency for kind in result.latencies.values() for latency in kind])


def show(round_: int, real: Figures, simulated: Figures) -> None:
    pairs = ((getattr(real, figure), getattr(simulated, figure)) for figure in FIGURES)
    numbers = "".join(f"{theirs:12.3f}{ours:11.3f}" for theirs, ours in pairs)
    print(f"round {round_:<4}{real.images:8}{numbers}", flush=True)


if __name__ == "__main__":
    main()
