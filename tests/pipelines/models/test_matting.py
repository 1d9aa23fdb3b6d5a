"""Transparent backgrounds: what a segmentation model takes for background becomes clear."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.core import Image, Job, ModelUnavailable
from pipelines.models.loader import Resident
from pipelines.models.matting import Matting
from pipelines.models.quantizing import weigh
from pipelines.weights.manifest import make_manifest, write_manifest
from tests.pipelines.conftest import Rig
from tests.tiny_matting import segmentation

Jobs = Callable[[str], list[Job]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return segmentation(tmp_path_factory.mktemp("matting"))


def rgba(image: object) -> np.ndarray:
    assert isinstance(image, Image), image
    return np.frombuffer(image.pixels, np.uint8).reshape(image.height, image.width, 4).astype(int)


def test_alpha_is_what_is_not_background(folder: Path) -> None:
    from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

    picture = torch.rand(3, 64, 96)
    alpha = Matting(folder, "cpu").alpha(picture)
    model = AutoModelForSemanticSegmentation.from_pretrained(folder)
    seen = AutoImageProcessor.from_pretrained(folder)(
        images=(picture * 255).round().to(torch.uint8), return_tensors="pt"
    )
    logits = model(**seen).logits
    logits = torch.nn.functional.interpolate(logits, (64, 96), mode="bilinear")
    background = logits[0].softmax(dim=0)[0]
    assert alpha.shape == (1, 64, 96)
    assert (alpha[0] - (1 - background)).abs().max() < 1e-6
    assert alpha.max() - alpha.min() > 0.3  # or anything would pass


def test_what_it_takes_is_told_by_its_files(folder: Path, tmp_path: Path) -> None:
    matting = Matting(folder, "cpu")
    model, *_ = matting._parts
    assert 0 <= weigh(model) - matting.size < 1024
    assert Matting(tmp_path, "cpu").size == 0


def test_a_model_of_one_label_says_what_is_shown(tmp_path: Path) -> None:
    alpha = Matting(segmentation(tmp_path, labels=["shown"]), "cpu").alpha(torch.rand(3, 64, 64))
    assert alpha.shape == (1, 64, 64)
    assert 0 <= alpha.min() < alpha.max() <= 1


def test_jobs_are_cut_out_in_company_as_they_are_alone(
    residents: dict[str, Resident], jobs: Jobs, folder: Path
) -> None:
    matting = Matting(folder, "cpu")
    able = {id: replace(it, matting=matting) for id, it in residents.items()}
    whole = jobs("sd")
    cut = [replace(job, cutout=True) for job in whole]
    together, alone = Rig(able), {job.id: Rig(able) for job in cut}
    together.run(*cut)
    opaque = Rig(able)
    opaque.run(*whole)
    for job in cut:
        alone[job.id].run(job)
        made, by_itself = rgba(together.outcomes[job.id]), rgba(alone[job.id].outcomes[job.id])
        assert np.abs(made - by_itself).max() <= 1
        assert np.abs(made[..., :3] - opaque.pixels(job)).max() <= 1
        assert np.ptp(made[..., 3]) > 20
    assert max(together.passes) > 1


@pytest.mark.parametrize("spoil", ["nothing there", "no background", "pickled", "changed"])
def test_what_cannot_be_loaded_fails_the_jobs_that_need_it_and_no_others(
    residents: dict[str, Resident], jobs: Jobs, tmp_path: Path, spoil: str
) -> None:
    if spoil == "no background":
        segmentation(tmp_path, labels=["cat", "dog"])
    elif spoil == "pickled":
        segmentation(tmp_path)
        torch.save({}, tmp_path / "pytorch_model.bin")
        (tmp_path / "model.safetensors").unlink()
    elif spoil == "changed":
        segmentation(tmp_path)
        write_manifest(tmp_path, make_manifest(tmp_path))
        weights = tmp_path / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    matting = Matting(tmp_path, "cpu")
    matting.prepare()
    rig = Rig({"sd": replace(residents["sd"], matting=matting)})
    job = jobs("sd")[0]
    rig.run(replace(job, cutout=True), replace(job, id="whole"))
    assert isinstance(rig.outcomes[job.id], ModelUnavailable)
    assert isinstance(rig.outcomes["whole"], Image)


def test_without_a_matting_model_nothing_is_cut_out(
    residents: dict[str, Resident], jobs: Jobs
) -> None:
    rig = Rig(residents)
    job = replace(jobs("sd")[0], cutout=True)
    rig.run(job)
    assert isinstance(rig.outcomes[job.id], ModelUnavailable)
