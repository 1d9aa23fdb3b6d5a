"""The tiny models as an engine has them, and an engine that keeps what it reports."""

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import inf

import diffusers
import numpy as np
import PIL.Image
import pytest
import torch

from pipelines.core import Image, Job, JobError, Preview
from pipelines.engine import Engine
from pipelines.lanes.memory import Memory
from pipelines.models.loader import Resident, load
from pipelines.models.pool import Pool
from pipelines.registry import Registry
from pipelines.scheduling.policy import Policy
from pipelines.scheduling.stopwatch import stopwatch
from pipelines.tasks.arguments import guidance, text_length
from tests import tiny
from tests.free import FreeCurves
from tests.support.devices import DEVICE


@pytest.fixture(autouse=True)
def _no_grad() -> Iterator[None]:
    """As in a worker, for the thread in which all lanes run; tests elsewhere train."""
    torch.set_grad_enabled(False)
    yield
    torch.set_grad_enabled(True)


@pytest.fixture(scope="session")
def residents(tiny_registry: Registry) -> dict[str, Resident]:
    """The tiny model of each family, loaded by the product's own loader."""
    memory = Memory(2**20)
    return {
        family: load(tiny_registry.models[family], tiny_registry.path(family), DEVICE, memory)
        for family in tiny.FAMILIES
    }


class Rig:
    """An engine over the tiny models, driven by hand, and what became of its jobs."""

    def __init__(self, residents: dict[str, Resident], device: str = DEVICE) -> None:
        self.outcomes: dict[str, Image | JobError] = {}
        self.previews: dict[str, list[Preview]] = defaultdict(list)
        self.passes: list[int] = []
        pool = Pool(lambda model, *_: residents[model], lambda: None)
        for model in residents:  # everything is resident before the first job
            while pool.get(model) is None:
                pool.make_way(())
                pool.land()
        self.engine = Engine(pool, _Recorded(self.passes), stopwatch(device), self._keep)

    def _keep(self, job_id: str, outcome: Image | Preview | JobError) -> None:
        assert job_id not in self.outcomes, "a job was reported twice"
        if isinstance(outcome, Preview):
            self.previews[job_id].append(outcome)
        else:
            self.outcomes[job_id] = outcome

    def run(self, *jobs: Job, late: Callable[[int], list[Job]] = lambda step: []) -> None:
        """Steps until nothing is left; `late(step)` gives jobs that arrive before that step."""
        for job in jobs:
            self.engine.submit(job)
        step = 0
        while True:
            for job in late(step):
                self.engine.submit(job)
            self.engine.step()
            step += 1
            if not self.engine.lanes and not self.engine._waiting:
                return

    def pixels(self, job: Job) -> np.ndarray:
        outcome = self.outcomes[job.id]
        assert isinstance(outcome, Image), outcome
        flat = np.frombuffer(outcome.pixels, np.uint8)
        return flat.reshape(outcome.height, outcome.width, 3).astype(int)


class _Recorded(Policy):
    """A policy that merges whatever fits, and how many calls each pass had."""

    def __init__(self, passes: list[int]) -> None:
        super().__init__(FreeCurves())
        self._passes = passes

    def choose(self, waiting, now, free=inf):  # type: ignore[no-untyped-def]
        chosen = super().choose(waiting, now, free)
        self._passes.append(len(chosen))
        return chosen


@pytest.fixture
def rig(residents: dict[str, Resident]) -> Rig:
    for resident in residents.values():
        for meeting in resident.meetings:
            meeting._memory.forget(lambda key: True)
    return Rig(residents)


@pytest.fixture(scope="session")
def plain(residents: dict[str, Resident]) -> Callable[[Job], np.ndarray]:
    """The image that the bare pipeline makes of a job, outside any lane: the truth."""

    def call(job: Job) -> np.ndarray:
        pipe = _made_for(residents[job.model].pipe, job)
        arguments = {
            "prompt": job.prompt,
            "width": job.width,
            "height": job.height,
            "num_inference_steps": job.steps,
            "generator": torch.Generator("cpu").manual_seed(job.seed),
            "output_type": "pil",
            **_pictures(job),
            **guidance(pipe, job),
            **text_length(pipe),
        }
        takes = inspect.signature(pipe.__call__).parameters
        image = pipe(**{name: it for name, it in arguments.items() if name in takes}).images[0]
        return np.asarray(image).astype(int)

    return call


OWN_CLASSES = {
    ("klein", "inpaint"): diffusers.Flux2KleinInpaintPipeline,
    ("qwen", "img2img"): diffusers.QwenImageImg2ImgPipeline,
    ("qwen", "inpaint"): diffusers.QwenImageInpaintPipeline,
    ("zimage", "img2img"): diffusers.ZImageImg2ImgPipeline,
    ("zimage", "inpaint"): diffusers.ZImageInpaintPipeline,
}


def _made_for(pipe: diffusers.DiffusionPipeline, job: Job) -> diffusers.DiffusionPipeline:
    if job.task in ("text2img", "edit"):
        return pipe
    if (kind := OWN_CLASSES.get((job.model, job.task))) is not None:
        return kind(**pipe.components)
    if job.task == "inpaint":
        return diffusers.AutoPipelineForInpainting.from_pipe(pipe)
    return diffusers.AutoPipelineForImage2Image.from_pipe(pipe)


def _pictures(job: Job) -> dict[str, object]:
    """As PIL has them; the families of Stable Diffusion read the size of an image off itself."""
    if job.source is None:
        return {}
    size = (job.width, job.height)
    image = PIL.Image.frombytes("RGB", size, bytes(job.source.pixels))
    pictures: dict[str, object] = {"image": image, "strength": job.strength}
    if job.mask is not None:
        pictures["mask_image"] = PIL.Image.frombytes("L", size, job.mask)
    return pictures


@pytest.fixture
def jobs() -> Callable[[str], list[Job]]:
    """Jobs for a model that differ in everything that may differ within a pass, task included."""

    gradient = np.linspace(0, 255, 64 * 64 * 3).astype(np.uint8)
    source = Image(64, 64, gradient.tobytes())
    left_half = np.tile(np.repeat([255, 0], 32), 64).astype(np.uint8).tobytes()

    def make(model: str) -> list[Job]:
        first = Job(
            id="a", model=model, prompt="a red fox", width=64, height=64, seed=1, steps=5,
            guidance_scale=4.0,
        )  # fmt: skip
        family = [
            first,
            replace(first, id="b", prompt="blue whale, at sea", seed=2, steps=8),
            replace(first, id="c", seed=3, steps=3, guidance_scale=7.5),
            replace(first, id="d", prompt="snow", seed=2**32 - 1, negative_prompt="a red fox"),
            replace(first, id="e", task="img2img", source=source, strength=0.7, steps=9),
            replace(first, id="f", task="inpaint", source=source, mask=left_half, strength=0.9),
        ]
        if model in tiny.INSTRUCTED:
            family[4] = replace(family[4], task="edit", steps=6)
        return family[:-1] if model == "flux2" else family  # which has no weights that inpaint

    return make
