"""What a job's numbers become as arguments of each family's pipeline."""

from dataclasses import replace

import pytest
import torch

from pipelines.core import Job
from pipelines.lanes.memory import Memory
from pipelines.models.loader import Resident, load
from pipelines.registry import Registry
from pipelines.tasks.arguments import guidance, noise_generator, text_length

JOB = Job(id="1", model="m", prompt="p", width=8, height=8, seed=0, steps=3, guidance_scale=4.0)


def test_every_seed_of_64_bits_has_its_own_noise() -> None:
    seeds = [7, 2**32 + 7, 2**33 + 7, 2**63 - 1, 2**63, 2**63 + 7, 2**64 - 1]
    noises = [torch.randn(2000, generator=noise_generator(seed)) for seed in seeds]
    for index, noise in enumerate(noises):
        again = torch.randn(2000, generator=noise_generator(seeds[index]))
        assert torch.equal(noise, again)
        assert abs(noise.mean()) < 0.1 and abs(noise.std() - 1) < 0.1
        likeness = [torch.corrcoef(torch.stack([noise, it]))[0, 1] for it in noises[:index]]
        assert all(abs(it) < 0.1 for it in likeness), seeds[index]


def test_seeds_of_32_bits_have_torchs_own_noise() -> None:
    for seed in (0, 7, 2**32 - 1):
        expected = torch.randn(9, generator=torch.Generator("cpu").manual_seed(seed))
        assert torch.equal(torch.randn(9, generator=noise_generator(seed)), expected)


@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3"])
def test_guidance_of_families_with_true_cfg(family: str, residents: dict[str, Resident]) -> None:
    job = replace(JOB, negative_prompt="rain")
    assert guidance(residents[family].pipe, job) == {
        "guidance_scale": 4.0,
        "negative_prompt": "rain",
    }


def test_flux_guides_by_its_embedding_or_truly_when_there_is_something_to_avoid(
    residents: dict[str, Resident], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = residents["flux"].pipe
    avoiding = {"guidance_scale": 1.0, "true_cfg_scale": 4.0, "negative_prompt": "rain"}
    assert guidance(pipe, JOB) == {"guidance_scale": 4.0}
    assert guidance(pipe, replace(JOB, negative_prompt="rain")) == avoiding
    assert guidance(pipe, replace(JOB, guidance_scale=0)) == {"guidance_scale": 0}
    monkeypatch.setitem(pipe.transformer.config, "guidance_embeds", False)
    assert guidance(pipe, JOB) == {"true_cfg_scale": 4.0, "negative_prompt": ""}
    assert guidance(pipe, replace(JOB, guidance_scale=0)) == {"true_cfg_scale": 1.0}


def test_text_is_as_long_as_the_tokenizer_says(residents: dict[str, Resident]) -> None:
    assert text_length(residents["flux"].pipe) == {"max_sequence_length": 32}
    assert text_length(residents["sd3"].pipe) == {"max_sequence_length": 32}
    assert text_length(residents["sdxl"].pipe) == {}
    assert text_length(residents["klein"].pipe) == {"max_sequence_length": 48}
    assert text_length(residents["qwen"].pipe) == {"max_sequence_length": 512}


def test_a_model_may_know_less_than_its_tokenizer(tiny_registry: Registry) -> None:
    def length(family: str, tokens: int) -> dict[str, int]:
        spec = tiny_registry.models[family].model_copy(update={"prompt_tokens": tokens})
        return text_length(load(spec, tiny_registry.path(family), "cpu", Memory(2**20)).pipe)

    assert length("flux", 20) == {"max_sequence_length": 20}
    assert length("flux", 512) == {"max_sequence_length": 32}
    assert length("sd", 20) == {}
