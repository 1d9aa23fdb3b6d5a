from dataclasses import replace
from typing import Any

import pytest

from pipelines.core import Job
from pipelines.registry import ModelSpec, Registry
from server.answering.plan import plan, unused
from server.callers.callers import Caller
from server.reading.contract import read_generation


@pytest.fixture
def jobs(registry: Registry) -> Any:
    def jobs(**body: Any) -> list[Job]:
        request = read_generation({"prompt": "a cat", "model": "flux-schnell", **body}, registry)
        return plan(request, request.prompt, registry, "req_1", Caller("alice"))

    return jobs


def test_n_images_are_n_jobs_with_seeds_that_count_up(jobs: Any) -> None:
    made = jobs(n=3, seed=7)
    assert [job.seed for job in made] == [7, 8, 9]
    assert [job.id for job in made] == ["req_1-0", "req_1-1", "req_1-2"]
    assert [replace(job, seed=0, id="") for job in made] == [replace(made[0], seed=0, id="")] * 3


def test_seeds_begin_again_at_zero(jobs: Any) -> None:
    assert [job.seed for job in jobs(n=2, seed=2**64 - 1)] == [2**64 - 1, 0]
    assert [job.seed for job in jobs(n=2, seed=2**32 - 1)] == [2**32 - 1, 2**32]


def test_without_a_seed_every_request_has_another(jobs: Any) -> None:
    seeds = {jobs(**asked)[0].seed for asked in ({}, {"seed": -1}) for _ in range(20)}
    assert len(seeds) == 40
    assert all(0 <= seed < 2**32 for seed in seeds)


@pytest.mark.parametrize(
    ("quality", "steps", "guidance"), [("low", 4, 0), ("auto", 8, 1.5), ("hd", 16, 3)]
)
def test_quality_is_a_preset(jobs: Any, quality: str, steps: int, guidance: float) -> None:
    (job,) = jobs(quality=quality)
    assert (job.steps, job.guidance_scale) == (steps, guidance)


def test_extensions_override_the_preset(jobs: Any) -> None:
    (job,) = jobs(quality="hd", steps=3, guidance_scale=0, negative_prompt="blur")
    assert (job.steps, job.guidance_scale, job.negative_prompt) == (3, 0, "blur")


def test_renders_at_the_nearest_native_size(jobs: Any) -> None:
    (job,) = jobs(size="1024x512")
    assert (job.width, job.height) == (96, 48)


def test_names_the_caller_and_the_model_that_serves(jobs: Any) -> None:
    (job,) = jobs()
    assert (job.caller, job.model, job.prompt) == ("alice", "demo", "a cat")


def test_a_negative_prompt_without_guidance_changes_nothing(jobs: Any, registry: Registry) -> None:
    def told(spec: ModelSpec, **body: Any) -> list[str]:
        body = {"prompt": "a cat", "model": "flux-schnell", **body}
        return unused(read_generation(body, registry), jobs(**body)[0], spec)

    spec = registry.models["demo"]
    assert told(spec, negative_prompt="blur", guidance_scale=1) == ["negative_prompt"]
    assert told(spec, negative_prompt="blur", guidance_scale=2) == []
    assert told(spec) == []
    deaf = spec.model_copy(update={"ignores": frozenset({"negative_prompt", "guidance_scale"})})
    asked = {"guidance_scale": 2, "seed": 1, "negative_prompt": "blur"}
    assert sorted(told(deaf, **asked)) == ["guidance_scale", "negative_prompt"]
    assert told(deaf, seed=1) == []
