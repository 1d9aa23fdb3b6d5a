"""Models that are streamed from the host's memory, layer by layer."""

from pathlib import Path

import pytest
import torch

from pipelines.core import Job, JobCancelled, Lora
from tests import tiny_loras
from tests.cuda.box import Box, a_job, models


def batch(model: str) -> list[Job]:
    return [
        a_job(model, f"{model}{seed}", seed=seed, steps=2 + seed, prompt=f"a fox {seed % 2}")
        for seed in range(3)
    ]


@pytest.fixture(scope="module")
def loras(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loras")
    with torch.enable_grad():
        for seed in range(2):
            tiny_loras.build(tiny_models / "flux", folder / f"flux{seed}.safetensors", seed)
            tiny_loras.build(tiny_models / "sd", folder / f"sd{seed}.safetensors", seed, text=True)
    return folder


@pytest.mark.parametrize("offload", ["text", "group"])
def test_is_batched_after_its_first_pass(tiny_models: Path, offload: str) -> None:
    families = ("sd", "flux", "qwen")
    jobs = [job for family in families for job in batch(family)]
    box = Box("cuda:0", models(tiny_models, *families, offload=offload))
    whole = Box("cpu", models(tiny_models, *families))
    whole.run(*jobs)
    for family in families:
        box.run(a_job(family, f"first of {family}"))
        begun = len(box.passes)
        box.run(*(job for job in jobs if job.model == family))
        assert 3 in box.passes[begun:], "calls of a streamed model were not batched"
    assert box.distance(whole, *(job.id for job in jobs)) <= 1


def test_remembers_prompts_and_is_cancelled_between_steps(tiny_models: Path) -> None:
    box = Box("cuda:0", models(tiny_models, "flux", offload="group"))
    job = a_job("flux", "first")
    box.run(job)
    encodings, steps = len(box.passes) - job.steps - 1, len(box.passes)
    assert encodings > 0
    box.run(a_job("flux", "second", seed=2))
    assert len(box.passes) - steps == job.steps + 1, "a remembered prompt was encoded again"
    box.engine.submit(a_job("flux", "long", steps=50))
    for _ in range(5):
        box.engine.step()
    assert box.engine.lanes == 1
    box.engine.cancel("long")
    assert box.engine.lanes == 0
    assert isinstance(box.outcomes["long"], JobCancelled)


@pytest.mark.parametrize("model", ["flux", "sd"])
def test_wears_loras_as_the_whole_model_does(tiny_models: Path, loras: Path, model: str) -> None:
    one, other = Lora(f"{model}0"), Lora(f"{model}1", 0.5)
    jobs = [
        a_job(model, "one", loras=(one,)),
        a_job(model, "plain"),
        a_job(model, "both", loras=(one, other)),
        a_job(model, "plain again", seed=1),
        a_job(model, "one again", loras=(one,), seed=5),
    ]
    whole = Box("cpu", models(tiny_models, model), loras=loras)
    whole.run(*jobs)
    box = Box("cuda:0", models(tiny_models, model, offload="group"), loras=loras)
    box.run(a_job(model, "before"))
    for job in jobs[:3]:
        box.run(job)
    box.run(*jobs[3:])
    assert box.distance(whole, *(job.id for job in jobs)) <= 1
    box.residence.loras.shrink(0)
    box.run(a_job(model, "without", seed=1))
    assert (box.pixels("without") == box.pixels("before")).all()
