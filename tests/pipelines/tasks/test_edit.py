"""Weights that were trained for one task: they serve it themselves, in company as any."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from diffusers import FluxFillPipeline, FluxKontextPipeline, FluxPipeline, FluxTransformer2DModel

from pipelines.core import Job, JobFailed
from pipelines.lanes.memory import Memory
from pipelines.models.loader import Resident, load
from pipelines.registry import ModelSpec, Registry
from tests.conftest import entry
from tests.pipelines.conftest import Rig

Jobs = Callable[[str], list[Job]]
LATENTS, MASK = 16, 8 * 8 * 4
"""Channels of a packed token: the latents', and a mask's at the autoencoder's factor of 8."""


def saved(kind: type, flux: FluxPipeline, folder: Path, **changes: object) -> Resident:
    """A tiny model of one of Flux's own pipeline classes, saved, and loaded by our loader."""
    components = {name: part for name, part in flux.components.items() if part is not None}
    kind(**components | changes).save_pretrained(folder)
    return load(ModelSpec.model_validate(entry("x")), folder, "cpu", Memory(2**20))


@pytest.fixture(scope="module")
def flux(tiny_registry: Registry) -> FluxPipeline:
    return FluxPipeline.from_pretrained(tiny_registry.path("flux"))


@pytest.fixture(scope="module")
def kontext(flux: FluxPipeline, tmp_path_factory: pytest.TempPathFactory) -> Resident:
    return saved(FluxKontextPipeline, flux, tmp_path_factory.mktemp("kontext"))


@pytest.fixture(scope="module")
def fill(flux: FluxPipeline, tmp_path_factory: pytest.TempPathFactory) -> Resident:
    torch.manual_seed(4)
    config = dict(flux.transformer.config) | {
        "in_channels": 2 * LATENTS + MASK,
        "out_channels": LATENTS,
    }
    transformer = FluxTransformer2DModel.from_config(config)
    return saved(FluxFillPipeline, flux, tmp_path_factory.mktemp("fill"), transformer=transformer)


def source_of(job: Job) -> PIL.Image.Image:
    assert job.source is not None
    return PIL.Image.frombytes("RGB", (job.width, job.height), bytes(job.source.pixels))


def assert_made_by(rig: Rig, job: Job, truth: PIL.Image.Image) -> None:
    assert np.abs(rig.pixels(job) - np.asarray(truth).astype(int)).max() <= 1


def test_an_instruction_is_followed_in_company(kontext: Resident, jobs: Jobs) -> None:
    *_, base = (job for job in jobs("kontext") if job.task == "img2img")
    company = [
        replace(base, id=str(n), task="edit", seed=n, steps=3 + n, prompt=f"more {n}")
        for n in range(3)
    ]
    rig = Rig({"kontext": kontext})
    rig.run(*company)
    assert max(rig.passes) == 3
    for job in company:
        truth = kontext.pipe(
            prompt=job.prompt,
            image=source_of(job),
            width=64,
            height=64,
            max_area=64 * 64,
            _auto_resize=False,
            num_inference_steps=job.steps,
            guidance_scale=job.guidance_scale,
            generator=torch.Generator().manual_seed(job.seed),
            max_sequence_length=32,
        ).images[0]
        assert_made_by(rig, job, truth)


def test_weights_for_inpainting_inpaint_themselves(fill: Resident, jobs: Jobs) -> None:
    job = next(job for job in jobs("fill") if job.task == "inpaint")
    company = [job, replace(job, id="2", seed=9, steps=7)]
    rig = Rig({"fill": fill})
    rig.run(*company)
    assert max(rig.passes) == 2
    for job in company:
        assert job.mask is not None
        truth = fill.pipe(
            prompt=job.prompt,
            image=source_of(job),
            mask_image=PIL.Image.frombytes("L", (64, 64), job.mask),
            width=64,
            height=64,
            strength=job.strength,
            num_inference_steps=job.steps,
            guidance_scale=job.guidance_scale,
            generator=torch.Generator().manual_seed(job.seed),
            max_sequence_length=32,
        ).images[0]
        assert_made_by(rig, job, truth)


def test_a_task_that_a_family_has_not_fails_its_job_alone(rig: Rig, jobs: Jobs) -> None:
    plain, *_, picture = (job for job in jobs("sd") if job.task != "inpaint")
    rig.run(plain, replace(picture, task="edit"))
    assert isinstance(rig.outcomes[picture.id], JobFailed)
    assert rig.pixels(plain).std() > 5
