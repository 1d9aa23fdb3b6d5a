"""What a GPU does with full-size architectures: passes by rows, the engine beside `pipe()` alone.

    python -m bench.gpu [--device cuda:0] [--families flux sdxl sd-1.5]

Random weights, bfloat16. `--small` makes models and shapes tiny, to try the script itself on any
device, also on a CPU: its figures mean nothing.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from bench.full_size import FAMILIES, Size, build
from pipelines.core import Image, Job
from pipelines.engine import Engine
from pipelines.lanes.joins import Stage
from pipelines.lanes.memory import Memory
from pipelines.models.loader import Resident, meet
from pipelines.models.pool import Pool
from pipelines.registry import ModelSpec
from pipelines.scheduling.curves import Curves
from pipelines.scheduling.policy import Policy
from pipelines.scheduling.stopwatch import stopwatch
from tests.conftest import entry
from tests.free import FreeCurves


@dataclass(frozen=True)
class Shape:
    """What is measured of a family: its side in pixels, steps, guidance; and how often."""

    family: str
    side: int
    steps: int
    guidance_scale: float
    rounds: int = 5
    """Repetitions of which the median is told."""
    arrivals: int = 40
    """Jobs that `short_among_long` sends."""
    lengths: tuple[int, int] = (4, 28)
    """The steps of a short and of a long one."""

    def small(self) -> "Shape":
        """The same in a size in which only the script itself is tried."""
        return replace(self, side=32, steps=1, rounds=1, arrivals=2, lengths=(1, 2))


SHAPES = (
    Shape("flux", 1024, 28, 3.5),
    Shape("flux", 512, 28, 3.5),
    Shape("sdxl", 1024, 30, 6.0),
    Shape("sdxl", 512, 4, 0.0),
    Shape("sd-1.5", 512, 20, 7.5),
)
ROWS = (1, 2, 4, 8)


class _Measuring(Policy):
    """Company whatever it costs; the measured times are kept apart."""

    def __init__(self) -> None:
        super().__init__(FreeCurves())
        self.measured = Curves()

    def ran(self, calls: Sequence[Any], seconds: float, memory: float = 0.0) -> None:
        super().ran(calls, seconds, memory)
        rows = sum(call.rows for call in calls)
        self.measured[calls[0].key].observe(rows, seconds, memory)


class Bench:
    """One model on a device, in an engine driven by hand."""

    def __init__(self, model: Resident, device: str) -> None:
        self.model = model
        self.policy = Policy()
        pool = Pool(lambda *_: model, lambda: None)
        while pool.get("m") is None:
            pool.make_way(())
            pool.land()
        self.done: dict[str, float] = {}
        self.engine = Engine(pool, self.policy, stopwatch(device), self._report)

    def use(self, policy: Policy) -> None:
        """From now on, another policy."""
        self.policy = self.engine._policy = self.engine.passes._policy = policy

    def _report(self, job_id: str, outcome: object) -> None:
        if not isinstance(outcome, Image):
            raise RuntimeError(f"{job_id}: {outcome}")
        self.done[job_id] = time.perf_counter()

    def run(self, jobs: Sequence[Job]) -> float:
        """Seconds until all of them are made, begun at once."""
        begun = time.perf_counter()
        for job in jobs:
            self.engine.submit(job)
        while self.engine.lanes or len(self.done) < len(jobs):
            self.engine.step()
        self.done.clear()
        return time.perf_counter() - begun

    def arriving(self, jobs: Sequence[tuple[float, Job]], in_turn: bool) -> dict[str, float]:
        """Seconds from each job's arrival to its image; `in_turn`: one at a time, FIFO."""
        begun, waiting = time.perf_counter(), list(jobs)
        self.done.clear()
        while len(self.done) < len(jobs):
            now = time.perf_counter() - begun
            while waiting and waiting[0][0] <= now and not (in_turn and self.engine.lanes):
                self.engine.submit(waiting.pop(0)[1])
            self.engine.step()
        return {job.id: self.done[job.id] - begun - at for at, job in jobs}


def main(argv: Sequence[str] | None = None) -> None:
    """Every shape of every family that is asked for."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--device", default="cuda:0")
    arguments.add_argument("--families", nargs="*", choices=FAMILIES, default=list(FAMILIES))
    arguments.add_argument("--small", action="store_true")
    asked = arguments.parse_args(argv)
    torch.set_grad_enabled(False)
    cuda = asked.device.startswith("cuda")
    print(torch.cuda.get_device_name(asked.device) if cuda else "CPU", f"torch {torch.__version__}")
    for family in asked.families:
        shapes = [shape for shape in SHAPES if shape.family == family]
        if asked.small:
            shapes = [shape.small() for shape in shapes[:1]]
        measure_family(family, shapes, asked.device, Size(64, 10) if asked.small else Size())
        if cuda:
            torch.cuda.empty_cache()


def measure_family(family: str, shapes: Sequence[Shape], device: str, size: Size) -> None:
    """Builds the model once, and measures its shapes."""
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    pipe = build(family, device, dtype, size)
    spec = ModelSpec.model_validate(entry("x"))
    # Guidance of its own makes a bare call comparable; lanes are attached after it was timed.
    bare = {shape: bare_seconds(pipe, shape, device) for shape in shapes}
    bench = Bench(Resident(spec, pipe, meet(pipe, {}, Memory(2**28))), device)
    for shape in shapes:
        print(f"\n{family}, {shape.side}x{shape.side}, {shape.steps} steps")
        passes_by_rows(bench, shape)
        beside_bare(bench, shape, bare[shape])
        text_cache(bench, shape)
    short_among_long(bench, shapes[0])


def a_job(shape: Shape, seed: int, **other: Any) -> Job:
    """A job of a shape; its prompt is its own."""
    job = Job(
        id=str(seed), model="m", prompt=f"a fox {seed}", width=shape.side, height=shape.side,
        seed=seed, steps=shape.steps, guidance_scale=shape.guidance_scale,
    )  # fmt: skip
    return replace(job, **other)


def bare_seconds(pipe: Any, shape: Shape, device: str) -> float:
    """One image by the pipeline alone, as diffusers documents it: the median."""

    def make(seed: int) -> None:
        pipe(
            prompt=f"a fox {seed}", width=shape.side, height=shape.side,
            num_inference_steps=shape.steps, guidance_scale=shape.guidance_scale,
            generator=torch.Generator().manual_seed(seed),
        )  # fmt: skip
        if device != "cpu":
            torch.cuda.synchronize(device)

    make(0)
    return statistics.median(timed(lambda n=n: make(n)) for n in range(1, shape.rounds + 1))


def timed(work: Callable[[], object]) -> float:
    """The seconds of some work."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def passes_by_rows(bench: Bench, shape: Shape) -> None:
    """Milliseconds of a denoiser's pass, and what a row costs in company against alone."""
    measuring = _Measuring()
    bench.use(measuring)
    for lanes in ROWS:
        bench.run([a_job(shape, n, steps=min(8, shape.steps)) for n in range(lanes)])
    prefix = {m.name for m in bench.model.meetings if m.join.stage is Stage.DENOISE}
    for key, curve in measuring.measured.all().items():
        if key.split(":")[0] in prefix and len(curve.seconds) > 1:
            least = min(curve.seconds)
            for rows, seconds in sorted(curve.seconds.items()):
                gain = (curve.seconds[least] / least) / (seconds / rows)
                print(f"  {rows:2} rows: {1000 * seconds:8.2f} ms a pass, {gain:.2f}x per row; "
                      f"{curve.row_bytes / 2**20:.0f} MiB a row")  # fmt: skip


def beside_bare(bench: Bench, shape: Shape, bare: float) -> None:
    """One image through the engine, against the pipeline alone; and how busy the device was."""
    bench.run([a_job(shape, 100)])
    seconds, busy = [], []
    for n in range(shape.rounds):
        before = bench.engine.passes.tally.busy_s
        seconds.append(bench.run([a_job(shape, 101 + n)]))
        busy.append((bench.engine.passes.tally.busy_s - before) / seconds[-1])
    ours = statistics.median(seconds)
    print(f"  one image: {ours:.3f} s, bare pipeline {bare:.3f} s, ratio {bare / ours:.3f}; "
          f"device busy {statistics.median(busy):.1%}")  # fmt: skip
    eight = bench.run([a_job(shape, 200 + n) for n in range(8)])
    print(f"  eight at once: {eight / 8:.3f} s an image, {8 * ours / eight:.2f}x one at a time")


def text_cache(bench: Bench, shape: Shape) -> None:
    """What a prompt saves that was encoded before."""
    few = min(4, shape.steps)
    new = statistics.median(
        bench.run([a_job(shape, 300 + n, steps=few)]) for n in range(shape.rounds)
    )
    known = statistics.median(
        bench.run([a_job(shape, 310 + n, steps=few, prompt="a fox 300")])
        for n in range(shape.rounds)
    )
    print(f"  a known prompt saves {1000 * (new - known):.1f} ms")


def short_among_long(bench: Bench, shape: Shape) -> None:
    """Poisson at 0.8 load, two lengths: the engine's order against one at a time."""
    few, many = shape.lengths
    bench.use(Policy())
    alone = {n: bench.run([a_job(shape, 400, steps=n)]) for n in shape.lengths}
    rate = 0.8 / statistics.mean(alone.values())
    rng, at, jobs = random.Random(0), 0.0, []
    counts = [few, many] * (shape.arrivals // 2)
    rng.shuffle(counts)
    for n, steps in enumerate(counts):
        at += rng.expovariate(rate)
        jobs.append((at, a_job(shape, 500 + n, steps=steps)))
    for way, in_turn in (("FIFO", True), ("ours", False)):
        took = bench.arriving(jobs, in_turn)
        short = sorted(took[job.id] for _, job in jobs if job.steps == few)
        print(f"  {few} steps among {many}, {way}: p95 {short[int(0.95 * len(short))]:.2f} s, "
              f"mean of all {statistics.mean(took.values()):.2f} s")  # fmt: skip


if __name__ == "__main__":
    main()
