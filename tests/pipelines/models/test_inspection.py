"""Images that a classifier finds something in are kept back, alone and in company."""

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import CLIPImageProcessorPil

from pipelines.content import Classifier, Thresholds
from pipelines.core import Blocked, Image, Job, ModelUnavailable, NonFinite, Strictness
from pipelines.lanes.lanes import Lane
from pipelines.lanes.memory import Memory
from pipelines.messages import Begin
from pipelines.models.inspection import Guard, Inspector
from pipelines.models.loader import Resident, load
from pipelines.models.residence import Residence
from pipelines.passes import Parked, Passes
from pipelines.registry import Registry
from pipelines.scheduling.policy import Policy
from pipelines.scheduling.stopwatch import HostStopwatch
from tests.free import FreeCurves
from tests.pipelines.conftest import Rig
from tests.tiny_judges import RED, redness, safety_checker

STRICTNESSES: tuple[Strictness, ...] = ("low", "auto", "strict")
Jobs = Callable[[str], list[Job]]


@pytest.fixture(scope="module")
def red(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    folder = redness(tmp_path_factory.mktemp("judge") / "red")
    return Classifier("red", folder, {RED: "violence/graphic"})


def picture(*colour: float) -> torch.Tensor:
    return torch.tensor(colour).view(3, 1, 1).expand(3, 64, 96).contiguous()


def found(inspector: Inspector, pixels: torch.Tensor, strictness: Strictness) -> tuple[str, ...]:
    try:
        inspector.check(pixels, strictness)
    except Blocked as blocked:
        assert vars(blocked).keys() == {"categories"}
        return blocked.categories
    return ()


def test_what_is_found_has_its_category(red: Classifier) -> None:
    inspector = Inspector(red, "cpu")
    assert found(inspector, picture(1, 0, 0), "low") == ("violence/graphic",)
    assert found(inspector, picture(0, 0, 1), "strict") == ()
    assert found(inspector, picture(1, 1, 1), "strict") == ()


def test_the_threshold_is_that_of_the_strictness(red: Classifier) -> None:
    inspector = Inspector(red, "cpu")
    shades = [shade / 1000 for shade in range(200, 300)]
    least = {
        level: next(it for it in shades if found(inspector, picture(it, 0, 0), level))
        for level in STRICTNESSES
    }
    assert least["strict"] < least["auto"] < least["low"]
    never = Inspector(replace(red, thresholds=Thresholds(auto=1.0)), "cpu")
    assert not found(never, picture(0.3, 0, 0), "auto")


def test_the_safety_checker_decides_by_its_own_forward(tmp_path: Path) -> None:
    bad, good = picture(1, 0, 0), torch.rand(3, 64, 96, generator=torch.manual_seed(1))
    folder = safety_checker(tmp_path / "checker", bad, good)
    inspector = Inspector(Classifier("checker", folder, {}), "cpu")
    assert found(inspector, bad, "low") == ("sexual",)
    assert found(inspector, good, "strict") == ()
    other = Inspector(Classifier("checker", folder, {"nsfw": "violence"}), "cpu")
    assert found(other, bad, "auto") == ("violence",)


def test_a_safety_checker_that_returns_nan_lets_nothing_out(tmp_path: Path) -> None:
    """No score of it is above a threshold then, whatever the image shows."""
    bad, good = picture(1, 0, 0), torch.rand(3, 64, 96, generator=torch.manual_seed(1))
    folder = safety_checker(tmp_path / "checker", bad, good)
    inspector = Inspector(Classifier("checker", folder, {}), "cpu")
    checker: Any = inspector._parts[0]._checker  # type: ignore[index,union-attr]
    pipe = SimpleNamespace(safety_checker=checker, feature_extractor=inspector._parts[1])  # type: ignore[index]
    guard = Guard(pipe, "own")
    assert found(inspector, good, "strict") == ()
    guard.check(good, "strict")
    checker.visual_projection.weight.data.fill_(float("nan"))
    for judge in (inspector, guard):
        with pytest.raises(NonFinite):
            judge.check(good, "low")


def test_its_bytes_are_known_before_it_is_read(red: Classifier) -> None:
    inspector = Inspector(red, "cpu")
    whole = inspector.size
    inspector.prepare()
    assert 0 < whole == inspector.size < (red.folder / "model.safetensors").stat().st_size
    assert Inspector(replace(red, folder=red.folder / "gone"), "cpu").size == 0


def test_its_bytes_are_taken_off_what_models_may_have(red: Classifier) -> None:
    begin = Begin("cpu", {}, preload=[], threads=1, inspector=red)
    assert Residence(begin, 10**9).budget == 10**9 - Inspector(red, "cpu").size


def as_tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.tensor(pixels).permute(2, 0, 1) / 255


def test_in_company_each_image_is_judged_by_itself(
    residents: dict[str, Resident], jobs: Jobs, red: Classifier
) -> None:
    made = [replace(job, moderation="auto") for job in jobs("sd")]
    free = Rig(residents)
    free.run(*made)
    scores = {
        job.id: Inspector(red, "cpu").scores(as_tensor(free.pixels(job)))[0][1] for job in made
    }
    middle = sum(sorted(scores.values())[2:4]) / 2
    strict = replace(red, thresholds=Thresholds(auto=middle))
    inspected = Rig({"sd": replace(residents["sd"], inspector=Inspector(strict, "cpu"))})
    inspected.run(*made)
    kept_back = {id for id, it in inspected.outcomes.items() if isinstance(it, Blocked)}
    assert kept_back == {id for id, score in scores.items() if score > middle}
    assert 0 < len(kept_back) < len(made)
    for job in made:
        if job.id not in kept_back:
            assert np.abs(inspected.pixels(job) - free.pixels(job)).max() <= 1
    assert max(inspected.passes) > 1


def test_what_is_not_to_be_judged_is_not(
    residents: dict[str, Resident], jobs: Jobs, red: Classifier
) -> None:
    everything = Inspector(replace(red, thresholds=Thresholds(strict=1e-9)), "cpu")
    rig = Rig({"sd": replace(residents["sd"], inspector=everything)})
    job = jobs("sd")[0]
    rig.run(job, replace(job, id="judged", moderation="strict"))
    assert isinstance(rig.outcomes[job.id], Image)
    assert isinstance(rig.outcomes["judged"], Blocked)


def test_previews_that_are_kept_back_are_not_shown(
    residents: dict[str, Resident], jobs: Jobs, red: Classifier
) -> None:
    job = replace(jobs("sd")[0], previews=3, moderation="auto")
    free = Rig(residents)
    free.run(job)
    assert [it.index for it in free.previews[job.id]] == [0, 1, 2]
    shown = []
    for least in (1e-9, 1.0):
        strict = replace(red, thresholds=Thresholds(auto=least))
        rig = Rig({"sd": replace(residents["sd"], inspector=Inspector(strict, "cpu"))})
        rig.run(job)
        shown.append(len(rig.previews[job.id]))
    assert shown == [0, 3]


@pytest.mark.parametrize("spoil", ["nothing there", "an unknown label", "pickled"])
def test_what_cannot_be_loaded_lets_nothing_out_that_is_to_be_judged(
    residents: dict[str, Resident], jobs: Jobs, tmp_path: Path, spoil: str
) -> None:
    folder = tmp_path / "judge"
    labels = {"violet": "violence"} if spoil == "an unknown label" else {RED: "violence"}
    if spoil != "nothing there":
        redness(folder)
    if spoil == "pickled":
        torch.save({}, folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    inspector = Inspector(Classifier("judge", folder, labels), "cpu")  # type: ignore[arg-type]
    inspector.prepare()
    rig = Rig({"sd": replace(residents["sd"], inspector=inspector)})
    job = jobs("sd")[0]
    rig.run(replace(job, moderation="low"), replace(job, id="free"))
    assert isinstance(rig.outcomes[job.id], ModelUnavailable)
    assert isinstance(rig.outcomes["free"], Image)


Guarded = Callable[[torch.Tensor, torch.Tensor], Resident]


@pytest.fixture
def guarded(tiny_registry: Registry, tmp_path: Path) -> Guarded:
    """The tiny SD, each time saved anew with a safety checker to which one of two pictures is
    bad."""
    numbers = count()

    def build(bad: torch.Tensor, good: torch.Tensor) -> Resident:
        place = tmp_path / str(next(numbers))
        checker = safety_checker(place / "checker", bad, good)
        pipe = StableDiffusionPipeline.from_pretrained(
            tiny_registry.path("sd"),
            safety_checker=StableDiffusionSafetyChecker.from_pretrained(checker),
            feature_extractor=CLIPImageProcessorPil.from_pretrained(checker),
        )
        pipe.save_pretrained(place / "sd")
        return load(tiny_registry.models["sd"], place / "sd", "cpu", Memory(0))

    return build


def test_a_model_s_own_safety_checker_keeps_back_and_paints_nothing_black(
    residents: dict[str, Resident], jobs: Jobs, guarded: Guarded
) -> None:
    job = replace(jobs("sd")[0], previews=2)
    plain = Rig(residents)
    plain.run(job, *jobs("sd")[4:])
    model = guarded(as_tensor(plain.pixels(job)), picture(0, 0, 1))
    rig = Rig({"sd": model})
    rig.run(job, replace(job, id="judged", moderation="low"), *jobs("sd")[4:])
    assert rig.outcomes["judged"].categories == ("sexual",)  # type: ignore[union-attr]
    for free in (job, *jobs("sd")[4:]):
        assert np.abs(rig.pixels(free) - plain.pixels(free)).max() <= 1
    assert len(rig.previews[job.id]) == 2
    everything = replace(model, guard=Guard(model.pipe, "another"))
    everything.pipe.safety_checker.concept_embeds_weights.fill_(-2)
    nothing = Rig({"sd": everything})
    nothing.run(replace(job, moderation="low"))
    assert not nothing.previews[job.id] and isinstance(nothing.outcomes[job.id], Blocked)


def test_each_model_s_images_are_judged_by_its_own_safety_checker(
    jobs: Jobs, guarded: Guarded
) -> None:
    """Also where several models' images are there to be judged at the same time."""
    red, blue = picture(1, 0, 0), picture(0, 0, 1)
    models = guarded(red, blue), guarded(blue, red)

    def judged(model: Resident, pixels: torch.Tensor) -> Lane:
        def body(lane: Lane) -> Image:
            assert model.guard is not None
            model.guard.check(pixels, "low")
            return Image(1, 1, b"")

        return Lane(jobs("sd")[0], body, 0.0)

    lanes = [judged(model, pixels) for model in models for pixels in (red, blue)]
    policy = Policy(FreeCurves())
    passes = Passes(HostStopwatch(), policy, lambda: False)
    for lane in lanes:
        lane.resume()
    while parked := [Parked(lane, lane.parked) for lane in lanes if lane.parked]:
        for each, answer in passes.run(policy.choose(parked, time.monotonic())):
            each.lane.resume(answer)
    assert passes.tally.passes == {2: 2}
    assert [isinstance(lane.failure, Blocked) for lane in lanes] == [True, False, False, True]
