"""What the engine adds to a step: a pass of a denoiser that does nothing, with 1 to 32 lanes.

The rest is real: pipelines, noise schedulers, parking, choosing, merging, splitting. A step of a
real model costs this much more than its forward pass.

    python -m bench.step_overhead [--steps 200]
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from pipelines.core import Job
from pipelines.engine import Engine
from pipelines.lanes.joins import Stage
from pipelines.lanes.memory import Memory
from pipelines.models.loader import Resident, load
from pipelines.models.pool import Pool
from pipelines.registry import ModelSpec
from pipelines.scheduling.policy import Policy
from pipelines.scheduling.stopwatch import stopwatch
from tests import tiny
from tests.conftest import entry
from tests.free import FreeCurves


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--steps", type=int, default=200)
    steps = arguments.parse_args().steps
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    print(f"{platform.machine()}, {os.cpu_count()} cores, 1 thread; milliseconds a step, median")
    print("lanes  " + "".join(f"{family:>8}" for family in tiny.FIRST) + "    wanted")
    with tempfile.TemporaryDirectory() as folder:
        engines = [(family, engine(idle_model(family, Path(folder)))) for family in tiny.FIRST]
    for lanes in (1, 2, 4, 8, 16, 32):
        row = [1000 * a_step(one, family, lanes, steps) for family, one in engines]
        cells = "".join(f"{milliseconds:8.2f}" for milliseconds in row)
        print(f"{lanes:5}  {cells}   <= {0.4 + 0.15 * lanes:.2f}")


def idle_model(family: str, folder: Path) -> Resident:
    """A tiny model whose denoiser predicts its own input, in no time."""
    spec = ModelSpec.model_validate(entry("x"))
    model = load(spec, tiny.build(family, folder), "cpu", Memory(2**24))
    for meeting in model.meetings:
        if meeting.join.stage is Stage.DENOISE:
            meeting._method = _nothing
    return model


def _nothing(**arguments: Any) -> tuple[torch.Tensor]:
    latents = arguments.get("sample", arguments.get("hidden_states"))
    return (latents[:],)


def engine(model: Resident) -> Engine:
    pool = Pool(lambda *_: model, lambda: None)
    while pool.get("m") is None:
        pool.make_way(())
        time.sleep(0.01)
        pool.land()
    return Engine(
        pool,
        Policy(FreeCurves(), most_rows=64),
        stopwatch("cpu"),
        lambda job, outcome: None,
    )


def a_step(engine: Engine, family: str, lanes: int, steps: int) -> float:
    """Seconds of a step with so many lanes, the first and last ones left out."""
    for n in range(lanes):
        # Without guidance, so that a row is a lane in every family.
        engine.submit(
            Job(
                id=str(n), model="m", prompt="a fox", width=64, height=64, seed=n, steps=steps,
                guidance_scale=0.0,
            )
        )  # fmt: skip
    seconds = []
    engine.step()
    while engine.lanes:
        begun = time.perf_counter()
        engine.step()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds[steps // 10 : -steps // 10])


if __name__ == "__main__":
    main()
