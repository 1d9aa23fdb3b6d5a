"""Every family as published, with the tasks of its models, on a pretended device and on the CPU."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import diffusers
import torch

from pipelines.core import Image, Job, Task
from pipelines.lanes.memory import Memory
from pipelines.models.loader import Resident, load
from pipelines.registry import ModelSpec
from tests import tiny
from tests.conftest import entry
from tests.cuda.box import GRADIENT, LEFT_HALF, a_job
from tests.pipelines.conftest import Rig
from tests.pipelines.tasks.test_references import Processor
from tests.support import pretend_cuda

OTHER = Image(64, 64, bytes(reversed(GRADIENT.pixels)))
GENERAL: tuple[Task, ...] = ("text2img", "img2img", "inpaint")


def _kontext(flux: Any) -> Any:
    return diffusers.FluxKontextPipeline(**flux)


def _fill(flux: Any) -> Any:
    torch.manual_seed(4)
    config = dict(flux["transformer"].config) | {"in_channels": 2 * 16 + 256, "out_channels": 16}
    transformer = diffusers.FluxTransformer2DModel.from_config(config)
    return diffusers.FluxFillPipeline(**flux | {"transformer": transformer})


@dataclass(frozen=True)
class Variant:
    """A model: its family, the tasks it is for, and how it is made of the family's components."""

    family: str
    tasks: tuple[Task, ...]
    make: Callable[[Any], Any] | None = None
    references: bool = False


VARIANTS = {family: Variant(family, GENERAL) for family in tiny.FAMILIES} | {
    "flux2": Variant("flux2", ("text2img", "edit"), references=True),
    "klein": Variant("klein", ("text2img", "edit", "inpaint"), references=True),
    "kontext": Variant("flux", ("edit",), _kontext),
    "fill": Variant("flux", ("inpaint",), _fill),
    "qwen-edit": Variant("qwen", ("edit",)),
    "qwen-edit-plus": Variant("qwen", ("edit",), references=True),
}


def jobs_of(name: str) -> list[Job]:
    """Jobs for all tasks of a variant."""
    first = a_job(name, "text", steps=4)
    edit = replace(first, id="edit", task="edit", source=GRADIENT)
    references = [replace(edit, id="edit2", references=(OTHER,))]
    jobs: dict[Task, list[Job]] = {
        "text2img": [
            first,
            replace(first, id="other", prompt="blue whale, at sea", seed=2, steps=6),
            replace(first, id="negative", prompt="snow", seed=2**32 - 1, negative_prompt="a fox"),
            replace(first, id="previews", prompt="sun", seed=5, previews=2, steps=6),
        ],
        "img2img": [
            replace(first, id="img2img", task="img2img", source=GRADIENT, strength=0.7, steps=6)
        ],
        "inpaint": [
            replace(
                first, id="inpaint", task="inpaint", source=GRADIENT, mask=LEFT_HALF, strength=0.9
            )
        ],
        "edit": [edit, *(references if VARIANTS[name].references else ())],
    }
    return [job for task in VARIANTS[name].tasks for job in jobs[task]]


def load_variant(name: str, tiny_models: Path, device: str, dtype: str) -> Resident:
    """A variant on a device."""
    variant = VARIANTS[name]
    spec = ModelSpec.model_validate(entry("x") | {"dtype": dtype})
    memory = Memory(2**22)
    folder = tiny_models / (name if variant.make else variant.family)
    if variant.make and not folder.exists():
        flux = diffusers.FluxPipeline.from_pretrained(tiny_models / "flux")
        parts = {name: part for name, part in flux.components.items() if part is not None}
        variant.make(parts).save_pretrained(folder)
    resident = load(spec, folder, device, memory)
    if not name.startswith("qwen-edit"):
        return resident
    plus = name.endswith("plus")
    kind = diffusers.QwenImageEditPlusPipeline if plus else diffusers.QwenImageEditPipeline
    pipe = kind(**resident.pipe.components, processor=Processor(resident.pipe.tokenizer))
    pipe.set_progress_bar_config(disable=True)
    return Resident(resident.spec, pipe, resident.meetings)


def rig(name: str, resident: Resident, device: str) -> Rig:
    """An engine over one resident model, whose prompts are forgotten."""
    for meeting in resident.meetings:
        meeting._memory.forget(lambda key: True)
    return Rig({name: resident}, device)


@contextmanager
def small_qwen_edits() -> Iterator[None]:
    """Have Qwen-Image's edits look at small images, too: theirs are a megapixel."""
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit as one
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as plus

    calculate, sizes = one.calculate_dimensions, (plus.CONDITION_IMAGE_SIZE, plus.VAE_IMAGE_SIZE)
    one.calculate_dimensions = lambda _, ratio: calculate(64 * 64, ratio)
    plus.CONDITION_IMAGE_SIZE = plus.VAE_IMAGE_SIZE = 64 * 64
    try:
        yield
    finally:
        one.calculate_dimensions = calculate
        plus.CONDITION_IMAGE_SIZE, plus.VAE_IMAGE_SIZE = sizes


def waits_per_step(rig: Rig, job: Job) -> tuple[dict[str, float], dict[str, float]]:
    """The waits of the host in a step beside the stopwatch's: by kind, and by line.

    The rig has run the job before.
    """
    totals, lines, steps = [], [], []
    for id, number in (("few", 4), ("many", 8)):
        pretend_cuda.waits.clear()
        pretend_cuda.wait_lines.clear()
        pretend_cuda.settings.record_lines = True
        rig.run(replace(job, id=f"{job.id} {id}", steps=number, previews=0))
        pretend_cuda.settings.record_lines = False
        outcome = rig.outcomes[f"{job.id} {id}"]
        assert isinstance(outcome, Image), outcome
        totals.append(Counter(pretend_cuda.waits))
        lines.append(Counter(pretend_cuda.wait_lines))
        steps.append(outcome.steps)
    more = steps[1] - steps[0]
    kinds = ("item", "nonzero", "d2h", "h2d", "synchronize")
    by_kind = {kind: (totals[1][kind] - totals[0][kind]) / more for kind in kinds}
    by_line = {
        f"{kind} {line}": (lines[1][kind, line] - lines[0][kind, line]) / more
        for kind, line in lines[1]
        if kind in kinds and lines[1][kind, line] != lines[0][kind, line]
    }
    return {kind: count for kind, count in by_kind.items() if count}, by_line
