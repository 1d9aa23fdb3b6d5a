"""Edits by the families that see their pictures: one, or several of them."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
import torch
from diffusers import QwenImageEditPipeline, QwenImageEditPlusPipeline
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit, pipeline_qwenimage_edit_plus
from transformers import BatchFeature, PreTrainedTokenizerBase, Qwen2VLImageProcessor

from pipelines.core import Image, Job
from pipelines.models.loader import Resident
from pipelines.models.siblings import task_of
from tests.pipelines.conftest import Rig

Jobs = Callable[[str], list[Job]]


class Processor:
    """As Qwen2VLProcessor, which needs torchvision, does it: a token for four patches of 14x14."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._pictures = Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=56 * 56)

    def __call__(
        self, text: list[str], images: object, padding: bool, return_tensors: str
    ) -> BatchFeature:
        seen = self._pictures(images=images, return_tensors=return_tensors)
        first, *rest = text[0].split("<|image_pad|>")
        counts = [int(grid.prod()) // 4 for grid in seen["image_grid_thw"]]
        line = first + "".join(
            "<|image_pad|>" * count + part for count, part in zip(counts, rest, strict=True)
        )
        words = self._tokenizer([line], padding=padding, return_tensors=return_tensors)
        return BatchFeature({**words, **seen})


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """These pipelines bring every picture to a megapixel; here to what tiny models can do."""
    calculate = pipeline_qwenimage_edit.calculate_dimensions
    monkeypatch.setattr(
        pipeline_qwenimage_edit, "calculate_dimensions", lambda _, ratio: calculate(64 * 64, ratio)
    )
    for name in ("CONDITION_IMAGE_SIZE", "VAE_IMAGE_SIZE"):
        monkeypatch.setattr(pipeline_qwenimage_edit_plus, name, 64 * 64)


@pytest.fixture(scope="module", params=[QwenImageEditPipeline, QwenImageEditPlusPipeline])
def qwen_edit(request: pytest.FixtureRequest, residents: dict[str, Resident]) -> Resident:
    base = residents["qwen"]
    processor = Processor(base.pipe.tokenizer)
    pipe = request.param(**base.pipe.components, processor=processor)
    pipe.set_progress_bar_config(disable=True)
    return Resident(base.spec, pipe, base.meetings)


@pytest.fixture
def edits(jobs: Jobs) -> Callable[[str], list[Job]]:
    """Three edits, of which two have equal prompts."""

    def make(model: str) -> list[Job]:
        first = replace(jobs("klein")[4], model=model, prompt="more red", steps=3)
        assert first.source is not None
        inverted = bytes(255 - value for value in bytes(first.source.pixels))
        return [
            first,
            replace(first, id="2", seed=2, steps=5),
            replace(first, id="3", prompt="blue!!!!", source=Image(64, 64, inverted)),
        ]

    return make


def opened(image: Image | None) -> PIL.Image.Image:
    assert image is not None
    return PIL.Image.frombytes("RGB", (image.width, image.height), bytes(image.pixels))


def plain(resident: Resident, job: Job) -> np.ndarray:
    pictures = [opened(job.source), *map(opened, job.references)]
    guidance = {"guidance_scale": job.guidance_scale}
    if "true_cfg_scale" in type(resident.pipe).__call__.__annotations__:
        guidance = {"true_cfg_scale": job.guidance_scale, "negative_prompt": ""}
    image = resident.pipe(
        prompt=job.prompt,
        image=pictures if job.references else pictures[0],
        width=64,
        height=64,
        num_inference_steps=job.steps,
        generator=torch.Generator().manual_seed(job.seed),
        max_sequence_length=min(512, getattr(resident.pipe.tokenizer, "model_max_length", 512)),
        **guidance,
    ).images[0]
    return np.asarray(image).astype(int)


def assert_all_made(rig: Rig, resident: Resident, company: list[Job]) -> None:
    truths = [plain(resident, job) for job in company]
    for job, truth in zip(company, truths, strict=True):
        assert np.abs(rig.pixels(job) - truth).max() <= 1
        assert sum(np.abs(truth - other).max() <= 2 for other in truths) == 1


def test_edits_of_qwen_image_meet(qwen_edit: Resident, edits: Callable[[str], list[Job]]) -> None:
    assert task_of(qwen_edit.pipe) == "edit"
    company = edits("qwen-edit")
    rig = Rig({"qwen-edit": qwen_edit})
    rig.run(*company)
    assert max(rig.passes) >= 2
    assert_all_made(rig, qwen_edit, company)


@pytest.mark.parametrize("family", ["flux2", "klein", "qwen-edit"])
def test_several_pictures_are_seen_in_order(
    family: str, residents: dict[str, Resident], edits: Callable[[str], list[Job]]
) -> None:
    resident = residents.get(family) or Resident(
        residents["qwen"].spec,
        QwenImageEditPlusPipeline(
            **residents["qwen"].pipe.components,
            processor=Processor(residents["qwen"].pipe.tokenizer),
        ),
        residents["qwen"].meetings,
    )
    alone, _, other = edits(family)
    assert other.source is not None
    noise = np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8)
    wide = Image(96, 64, noise.tobytes())
    company = [
        alone,
        replace(alone, id="one", references=(other.source,)),
        replace(alone, id="two", references=(other.source, wide)),
        replace(alone, id="turned", references=(wide, other.source)),
    ]
    rig = Rig({family: resident})
    rig.run(*company)
    assert_all_made(rig, resident, company)
