"""NaN and infinite values end a job with an error that names the stage; they are never an image."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.content import Classifier
from pipelines.core import Image, Job, JobFailed, NonFinite
from pipelines.lanes.finite import STAGES, FiniteChecks
from pipelines.lanes.joins import JOINS, Stage
from pipelines.lanes.rendezvous import Rendezvous
from pipelines.models.inspection import Inspector
from pipelines.models.loader import Resident
from pipelines.models.matting import Matting
from pipelines.render import eight_bits
from server import answers
from tests import tiny
from tests.pipelines.conftest import Rig
from tests.tiny_judges import RED, redness
from tests.tiny_matting import segmentation

Jobs = Callable[[str], list[Job]]
Plain = Callable[[Job], np.ndarray]


def broken(where: Rendezvous, value: float, at_call: Callable[[int], bool] = lambda n: True) -> Any:
    """The module's method, whose first tensor gets `value` somewhere in calls that `at_call`
    picks, by their number."""
    method, calls = where._method, iter(range(10**6))

    def call(**arguments: Any) -> Any:
        answer = method(**arguments)
        if at_call(next(calls)):
            _spoil(answer, value)
        return answer

    return call


def _spoil(answer: Any, value: float) -> None:
    if torch.is_tensor(answer):
        answer[..., -1:] = value
    elif hasattr(answer, "parameters"):
        type(answer).__init__(answer, answer.parameters * value)
    else:
        parts = list(answer.values()) if isinstance(answer, Mapping) else list(answer)
        for part in parts:
            if part is not None:
                _spoil(part, value)


def meetings(resident: Resident, stage: str) -> list[Rendezvous]:
    found = {
        "text encoder": lambda it: it.join.stage is Stage.ENCODE and it.join.method == "forward",
        "image encoder": lambda it: it.join.method == "encode",
        "denoiser": lambda it: it.join.stage is Stage.DENOISE,
        "decoder": lambda it: it.join.method == "decode",
    }
    return [it for it in resident.meetings if found[stage](it)]


CASES = [(family, stage, nan) for family in tiny.FAMILIES for stage in STAGES] + [
    ("sd", "denoiser", inf),
    ("sd", "decoder", inf),
    ("flux", "decoder", -inf),
]


@pytest.mark.parametrize(("family", "stage", "value"), CASES)
def test_a_non_finite_value_fails_the_job_and_names_model_and_stage(
    family: str, stage: str, value: float, rig: Rig, jobs: Jobs,
    residents: dict[str, Resident], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for where in meetings(residents[family], stage):
        monkeypatch.setattr(where, "_method", broken(where, value))
    job = replace(jobs(family)[4 if stage == "image encoder" else 0], steps=3, previews=1)
    rig.run(job)
    error = rig.outcomes[job.id]
    assert isinstance(error, NonFinite)
    assert error.source == f"{stage} of the model '{family}'"
    assert rig.previews[job.id] == [] or stage == "decoder", "a black preview was shown"
    assert error.device_seconds > 0
    told = answers.message(error)
    assert f"the {stage} of the model '{family}' returned NaN or infinite values" in told
    assert not answers.answer(error).retry


def test_the_remedy_for_float16_is_another_dtype(
    residents: dict[str, Resident], jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    sd = residents["sd"]
    (where,) = meetings(sd, "decoder")
    monkeypatch.setattr(where, "_method", broken(where, nan))
    told = []
    for dtype in ("float16", "float32"):
        rig = Rig({"sd": replace(sd, spec=sd.spec.model_copy(update={"dtype": dtype}))})
        rig.run(jobs("sd")[0])
        told.append(answers.message(rig.outcomes["a"]))  # type: ignore[arg-type]
    assert "run the decoder in float32 or bfloat16" in told[0]
    assert "float32" not in told[1] and "darkroom verify" in told[1]


def test_jobs_in_the_same_batch_are_not_affected(
    rig: Rig, jobs: Jobs, plain: Plain, residents: dict[str, Resident],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    first = jobs("flux")[0]
    batch = [replace(first, id=str(n), seed=n) for n in range(3)]
    truth = {job.id: plain(job) for job in batch}
    (where,) = meetings(residents["flux"], "decoder")
    method = where._method

    def call(**arguments: Any) -> Any:
        answer = method(**arguments)
        rows = answer[0] if isinstance(answer, tuple) else answer.sample
        assert len(rows) == 3
        rows[1] = nan
        return answer

    monkeypatch.setattr(where, "_method", call)
    rig.run(*batch)
    assert isinstance(rig.outcomes["1"], NonFinite)
    for job in (batch[0], batch[2]):
        assert np.abs(rig.pixels(job) - truth[job.id]).max() <= 1


def test_a_non_finite_preview_is_left_out_and_the_image_is_made(
    rig: Rig, jobs: Jobs, plain: Plain, residents: dict[str, Resident],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    job = replace(jobs("sd")[0], previews=3, steps=8)
    truth = plain(job)
    (where,) = meetings(residents["sd"], "decoder")
    monkeypatch.setattr(where, "_method", broken(where, nan, lambda number: number == 1))
    rig.run(job)
    assert [it.index for it in rig.previews[job.id]] == [0, 1]
    assert all(np.frombuffer(it.image.pixels, np.uint8).any() for it in rig.previews[job.id])
    assert np.abs(rig.pixels(job) - truth).max() <= 1


def test_remembered_text_embeddings_are_named_as_well(
    rig: Rig, jobs: Jobs, residents: dict[str, Resident], monkeypatch: pytest.MonkeyPatch
) -> None:
    for where in meetings(residents["sd3"], "text encoder"):
        monkeypatch.setattr(where, "_method", broken(where, nan))
    first, again = jobs("sd3")[0], replace(jobs("sd3")[0], id="again")
    rig.run(first)
    rig.run(again)
    told = [rig.outcomes[job.id] for job in (first, again)]
    assert [getattr(it, "source", None) for it in told] == ["text encoder of the model 'sd3'"] * 2


def test_an_encoder_output_that_the_model_ignores_fails_nothing() -> None:
    """A last layer may overflow of which a model reads the one before."""
    checks = FiniteChecks()
    checks.record(JOINS["T5EncoderModel"], {}, (torch.tensor([nan]),))
    checks.record(JOINS["AutoencoderKL"], {"z": torch.ones(1, 4)}, (torch.ones(1, 3),))
    assert checks.image(torch.ones(3, 2, 2))


def test_the_images_of_an_autoencoder_without_a_check_are_checked() -> None:
    """One that is not in `JOINS` is called past every rendezvous."""
    checks = FiniteChecks()
    assert checks.image(torch.ones(3, 2, 2))
    assert not checks.image(torch.full((3, 2, 2), nan))
    assert checks.first_failure() == "denoiser or decoder"


def test_checks_do_not_read_from_the_device() -> None:
    """A tensor on `meta` raises when the host reads it, so a wait for the device would be seen."""
    checks = FiniteChecks()
    on_device = torch.ones(1, 3, 8, 8, device="meta")
    checks.record(JOINS["T5EncoderModel"], {}, (on_device,))
    checks.record(JOINS["AutoencoderKL"], {"z": on_device}, (on_device,))
    assert checks.image(on_device[0]).device.type == "meta"


def test_eight_bits_are_rounded_as_before() -> None:
    pixels = torch.rand(3, 5, 7)
    copied = eight_bits(pixels, torch.tensor(True))
    assert copied is not None and torch.equal(copied, (pixels * 255).round().to(torch.uint8))
    assert eight_bits(pixels, torch.tensor(False)) is None


def _nan_weights(companion: Inspector | Matting) -> None:
    model, *_ = companion._parts  # type: ignore[misc]
    for parameter in model.parameters():
        parameter.data.fill_(nan)


def test_nan_scores_of_an_image_classifier_let_nothing_out(
    residents: dict[str, Resident], jobs: Jobs, tmp_path: Path
) -> None:
    inspector = Inspector(Classifier("red", redness(tmp_path / "red"), {RED: "violence"}), "cpu")
    _nan_weights(inspector)
    rig = Rig({"sd": replace(residents["sd"], inspector=inspector)})
    job = replace(jobs("sd")[0], moderation="low")
    rig.run(job, replace(job, id="not judged", moderation=None))
    assert isinstance(rig.outcomes[job.id], NonFinite)
    assert "image classifier" in answers.message(rig.outcomes[job.id])  # type: ignore[arg-type]
    assert isinstance(rig.outcomes["not judged"], Image)


def test_the_classifier_is_not_asked_about_non_finite_pixels(
    residents: dict[str, Resident], jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It might block them, and the error would be the caller's."""
    inspector = Inspector(Classifier("red", redness(tmp_path / "red"), {RED: "violence"}), "cpu")
    monkeypatch.setattr(inspector, "check", lambda *_: pytest.fail("asked"))
    (where,) = meetings(residents["sd"], "decoder")
    monkeypatch.setattr(where, "_method", broken(where, nan))
    rig = Rig({"sd": replace(residents["sd"], inspector=inspector)})
    job = replace(jobs("sd")[0], moderation="strict", previews=2)
    rig.run(job)
    assert isinstance(rig.outcomes[job.id], NonFinite)


def test_a_nan_opacity_is_not_delivered_as_transparent(
    residents: dict[str, Resident], jobs: Jobs, tmp_path: Path
) -> None:
    matting = Matting(segmentation(tmp_path), "cpu")
    _nan_weights(matting)
    rig = Rig({"sd": replace(residents["sd"], matting=matting)})
    job = replace(jobs("sd")[0], cutout=True)
    rig.run(job)
    assert isinstance(rig.outcomes[job.id], NonFinite)
    assert "matting model" in answers.message(rig.outcomes[job.id])  # type: ignore[arg-type]
    assert isinstance(rig.outcomes[job.id], JobFailed)
