"""Variations by a prior: as the two pipelines make them one after the other, and in company."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline, FluxPriorReduxPipeline
from diffusers.pipelines.flux.modeling_flux import ReduxImageEncoder
from transformers import SiglipImageProcessor, SiglipVisionConfig, SiglipVisionModel

from pipelines.core import Job, UnsupportedTask
from pipelines.lanes.memory import Memory
from pipelines.messages import Begin
from pipelines.models.footprints import components_of, size_of
from pipelines.models.loader import Resident, load
from pipelines.models.residence import Residence
from pipelines.registry import ModelSpec, Registry
from pipelines.tasks.pictures import rgb
from tests.conftest import entry
from tests.pipelines.conftest import Rig
from tests.tiny_language import heeding

Jobs = Callable[[str], list[Job]]


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny FLUX.1-Redux, saved as the real one is: without text encoders."""
    torch.manual_seed(7)
    config = SiglipVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        image_size=32, patch_size=4,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("redux")
    FluxPriorReduxPipeline(
        image_encoder=SiglipVisionModel(config).eval(),
        feature_extractor=SiglipImageProcessor(size={"height": 32, "width": 32}),
        image_embedder=ReduxImageEncoder(redux_dim=16, txt_in_features=32),
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def base(tiny_registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pipe = FluxPipeline.from_pretrained(tiny_registry.path("flux"))
    heeding(pipe.transformer)
    folder = tmp_path_factory.mktemp("base")
    pipe.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def resident(prior: Path, base: Path) -> Resident:
    return load(ModelSpec.model_validate(entry("flux")), base, "cpu", Memory(2**20), prior)


@pytest.fixture(scope="module")
def plain(prior: Path, base: Path) -> Callable[[Job], np.ndarray]:
    pipe = FluxPipeline.from_pretrained(base)
    parts = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
    reader = FluxPriorReduxPipeline.from_pretrained(
        prior, **{name: getattr(pipe, name) for name in parts}
    )

    def call(job: Job) -> np.ndarray:
        image = pipe(
            **reader(rgb(job), prompt=""),
            width=64,
            height=64,
            num_inference_steps=job.steps,
            guidance_scale=job.guidance_scale,
            generator=torch.Generator().manual_seed(job.seed),
        ).images[0]
        return np.asarray(image).astype(int)

    return call


def test_variations_are_what_both_pipelines_make_of_their_picture(
    resident: Resident, plain: Callable[[Job], np.ndarray], jobs: Jobs
) -> None:
    told, *_, picture, _ = jobs("flux")
    first = replace(picture, id="1", task="variation", prompt="", seed=1, steps=4)
    assert first.source is not None
    inverted = bytes(255 - value for value in bytes(first.source.pixels))
    company = [
        first,
        replace(first, id="2", seed=2, steps=6),
        replace(first, id="3", source=replace(first.source, pixels=inverted)),
    ]
    rig = Rig({"flux": resident})
    rig.run(told, *company)
    texts, *others = rig.passes
    assert (texts, max(others)) == (4, 3), (
        "those that were told in words have other lengths of text"
    )
    for job in company:
        assert np.abs(rig.pixels(job) - plain(job)).max() <= 1
    assert np.abs(rig.pixels(company[0]) - rig.pixels(company[2])).max() > 8
    assert rig.pixels(told).std() > 5


def test_text_encoders_are_there_once(resident: Resident) -> None:
    varied = resident.pipe_for("variation")
    assert varied.prior.text_encoder_2 is resident.pipe.text_encoder_2
    assert varied.transformer is resident.pipe.transformer
    assert not hasattr(resident.pipe, "prior")


def test_without_a_prior_there_are_no_variations_of_this_kind(
    residents: dict[str, Resident],
) -> None:
    with pytest.raises(UnsupportedTask, match="variation"):
        residents["flux"].pipe_for("variation")


def test_what_waits_elsewhere_is_chosen_with_the_reader_in_mind(prior: Path, base: Path) -> None:
    flux = ModelSpec.model_validate(entry("flux") | {"variation": "redux"})
    models = {"flux": (flux, base), "redux": (ModelSpec.model_validate(entry("redux")), prior)}

    def footprint(budget: float) -> int:
        return size_of(Residence(Begin("cuda:0", models, [], 1), budget).footprint("flux"))

    whole = footprint(10**9)
    reader = sum(it.size for it in components_of(models["redux"][0], prior).values())
    assert 0 < reader < whole == footprint(whole)
    for budget in (whole - 1, whole - reader):
        assert footprint(budget) <= budget, "what does not fit with it waits elsewhere"
