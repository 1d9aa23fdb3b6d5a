"""A device with its memory, its models and its engine, driven by hand as a worker drives them."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.core import Image, Job, JobError, Preview
from pipelines.engine import Engine
from pipelines.messages import Begin
from pipelines.models.pool import Pool
from pipelines.models.residence import Residence
from pipelines.models.room import Room
from pipelines.registry import ModelSpec
from pipelines.scheduling.policy import Policy
from pipelines.scheduling.stopwatch import stopwatch
from tests.conftest import entry
from tests.free import FreeCurves

Models = dict[str, tuple[ModelSpec, Path]]
BUDGET = 10**10
GRADIENT = Image(64, 64, np.linspace(0, 255, 64 * 64 * 3).astype(np.uint8).tobytes())
LEFT_HALF = np.tile(np.repeat([255, 0], 32), 64).astype(np.uint8).tobytes()


def models(tiny: Path, *families: str, **changes: object) -> Models:
    """The tiny models of families, as entries with these changes say."""
    spec = ModelSpec.model_validate(entry("x") | {"offload": "none"} | changes)
    return {family: (spec, tiny / family) for family in families}


def a_job(model: str, id: str, **changes: Any) -> Job:
    """A small job; its id is its seed, too."""
    usual = {"prompt": "a red fox", "width": 64, "height": 64, "seed": 1, "steps": 3}
    return Job(**{"id": id, "model": model, "guidance_scale": 4.0} | usual | changes)


class Box:
    """One device; `outcomes` by job, the number of calls of each pass in `passes`."""

    def __init__(self, device: str, models: Models, budget: float = BUDGET, **begin: Any) -> None:
        self.outcomes: dict[str, Image | JobError] = {}
        self.previews: dict[str, list[Preview]] = {}
        self.passes: list[int] = []
        settings = Begin(device, models, preload=[], threads=1, **begin)
        self.residence = Residence(settings, budget)
        room = Room(self.residence.budget, self.residence.loras)
        self.pool = Pool(
            self.residence.load,
            lambda: None,
            room,
            self.residence.footprint,
            self.residence.leave,
        )
        policy = Policy(FreeCurves())
        choose = policy.choose

        def recorded(*args: Any) -> Any:
            chosen = choose(*args)
            if chosen:
                self.passes.append(len(chosen))
            return chosen

        policy.choose = recorded  # type: ignore[method-assign]
        self.engine = Engine(self.pool, policy, stopwatch(device), self._keep)

    def _keep(self, id: str, outcome: Image | Preview | JobError) -> None:
        if isinstance(outcome, Preview):
            self.previews.setdefault(id, []).append(outcome)
        else:
            assert id not in self.outcomes, "a job was reported twice"
            self.outcomes[id] = outcome

    def run(
        self, *jobs: Job, each: Callable[[], None] = lambda: None, within_s: float = 240
    ) -> None:
        """Run jobs until all have an outcome; `each` is called after every step."""
        for job in jobs:
            self.engine.submit(job)
        until = time.monotonic() + within_s
        while any(job.id not in self.outcomes for job in jobs):
            self.engine.step()
            each()
            if not self.engine.lanes:
                time.sleep(0.001)
            assert time.monotonic() < until, "a job was lost"

    def pixels(self, id: str) -> np.ndarray:
        """The image of a job."""
        outcome = self.outcomes[id]
        assert isinstance(outcome, Image), repr(outcome)
        return np.frombuffer(outcome.pixels, np.uint8).astype(int)

    def distance(self, other: "Box", *ids: str) -> int:
        """The largest difference between the images of two boxes, in 255ths."""
        pairs = [(self.pixels(id), other.pixels(id)) for id in ids or self.outcomes]
        return max(int(np.abs(ours - theirs).max()) for ours, theirs in pairs)

    def pipe(self, model: str) -> Any:
        """The pipeline of a resident model."""
        return self.pool.get(model).pipe  # type: ignore[union-attr]
