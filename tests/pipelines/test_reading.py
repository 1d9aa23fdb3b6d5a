"""Long prompts: read to their end where a family can, and else it is said how much was not.

The truth of a prompt in pieces is the bare pipeline, given the encodings of its pieces one after
the other.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline

from pipelines.core import Image, Job, Lora
from pipelines.lanes.lanes import fork
from pipelines.lanes.memory import Memory
from pipelines.models.loader import Resident, load
from pipelines.models.loras import Loras
from pipelines.reading import Reading
from pipelines.registry import Registry
from tests import tiny_loras
from tests.pipelines.conftest import Rig, _made_for, _pictures

Jobs = Callable[[str], list[Job]]
CLIPS = {"sd": 1, "sdxl": 2}
"""And how many of them encode a text."""
PIECES = ["marble, " * 10, "copper, " * 10, "velvet, " * 3]
"""Of 70 tokens, 70 and 21: no further word would fit into the first two."""
LONG = "".join(PIECES)


@pytest.fixture
def made_alone(residents: dict[str, Resident], rig: Rig) -> Callable[[Job], Image]:
    """To the bit the same each time: in company, sums are rounded in another order."""

    def call(job: Job) -> Image:
        alone = Rig({job.model: residents[job.model]})
        alone.run(job)
        outcome = alone.outcomes[job.id]
        assert isinstance(outcome, Image), outcome
        return replace(outcome, pixels=bytes(outcome.pixels))

    return call


def encoded(pipe: DiffusionPipeline, prompts: list[str], negatives: list[str]) -> dict[str, object]:
    """Each piece encoded alone; what is said of pooled encodings is true of the first."""
    found = [
        pipe.encode_prompt(
            prompt=prompt,
            negative_prompt=negative,
            device=torch.device("cpu"),
            num_images_per_prompt=1,
            do_classifier_free_guidance=True,
        )
        for prompt, negative in zip(prompts, negatives, strict=True)
    ]
    texts, avoided, *pooled = zip(*found, strict=True)
    arguments: dict[str, object] = {
        "prompt_embeds": torch.cat(texts, 1),
        "negative_prompt_embeds": torch.cat(avoided, 1),
    }
    if pooled:
        arguments["pooled_prompt_embeds"] = pooled[0][0]
        arguments["negative_pooled_prompt_embeds"] = pooled[1][0]
    return arguments


def truth(resident: Resident, job: Job, prompts: list[str], negatives: list[str]) -> np.ndarray:
    pipe = _made_for(resident.pipe, job)
    size = {} if job.task == "img2img" else {"width": job.width, "height": job.height}
    image = pipe(
        **encoded(pipe, prompts, negatives),
        **size,
        **_pictures(job),
        num_inference_steps=job.steps,
        guidance_scale=job.guidance_scale,
        generator=torch.Generator("cpu").manual_seed(job.seed),
    ).images[0]
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("family", CLIPS)
def test_a_negative_prompt_that_is_not_used_changes_nothing(
    family: str, made_alone: Callable[[Job], Image], jobs: Jobs
) -> None:
    free = replace(jobs(family)[0], guidance_scale=1.0)
    plain, avoiding = made_alone(free), made_alone(replace(free, negative_prompt=LONG))
    assert avoiding.pixels == plain.pixels
    used = replace(free, guidance_scale=4.0)
    assert made_alone(used).pixels != made_alone(replace(used, negative_prompt=LONG)).pixels


@pytest.mark.parametrize("family", CLIPS)
def test_every_task_reads_all_of_it_alone_and_in_company(
    family: str, rig: Rig, residents: dict[str, Resident], jobs: Jobs
) -> None:
    first, short, *_, remade, painted = jobs(family)
    first = replace(first, prompt=LONG, negative_prompt="rust")
    others = [
        replace(first, id="other", prompt=LONG.replace("velvet", "rubber"), seed=5, steps=3),
        replace(remade, prompt=LONG, negative_prompt="rust", steps=4),
        replace(painted, prompt=LONG, negative_prompt="rust"),
    ]
    rig.run(first, short, *others)
    encoding = 2 * CLIPS[family]
    assert rig.passes[0] == 5, "texts of all lengths are encoded together"
    assert max(rig.passes[encoding:]) == 4, "the short prompt has another length of text"
    avoided = ["rust", "", ""]
    for job in (first, *others):
        pieces = [*PIECES[:2], job.prompt.removeprefix("".join(PIECES[:2]))]
        expected = truth(residents[family], job, pieces, avoided)
        assert np.abs(rig.pixels(job) - expected).max() <= 1, job.task
        outcome = rig.outcomes[job.id]
        assert isinstance(outcome, Image)
        assert outcome.unread == {}
    assert np.abs(rig.pixels(first) - rig.pixels(others[0])).max() > 8
    alone = Rig(residents)
    alone.run(short)
    assert np.abs(rig.pixels(short) - alone.pixels(short)).max() <= 1


@pytest.mark.parametrize("family", CLIPS)
def test_a_long_negative_prompt(
    family: str, rig: Rig, residents: dict[str, Resident], jobs: Jobs
) -> None:
    job = replace(jobs(family)[0], negative_prompt=LONG)
    rig.run(job)
    expected = truth(residents[family], job, [job.prompt, "", ""], PIECES)
    assert np.abs(rig.pixels(job) - expected).max() <= 1


@pytest.mark.parametrize("family", CLIPS)
def test_the_last_word_of_4000_characters_is_seen(
    family: str, made_alone: Callable[[Job], Image], jobs: Jobs
) -> None:
    text = ("a marble statue of a fox in a garden, " * 110)[:3990]
    first = replace(jobs(family)[0], prompt=f"{text} red")
    second = replace(first, prompt=f"{text} blue")
    images = [made_alone(job) for job in (first, second, first)]
    assert images[0].pixels == images[2].pixels != images[1].pixels
    assert [image.unread for image in images] == [{}, {}, {}]


def test_what_is_beyond_all_pieces_is_counted(rig: Rig, jobs: Jobs) -> None:
    job = replace(jobs("sd")[0], prompt="marble " * 1000)
    rig.run(job)
    outcome = rig.outcomes[job.id]
    assert isinstance(outcome, Image)
    assert outcome.unread == {"prompt": 6000 - 63 * 72 - 75}


def test_text_encoders_wear_loras_for_pieces_too(
    tmp_path: Path, tiny_registry: Registry, residents: dict[str, Resident], jobs: Jobs
) -> None:
    tiny_loras.build(tiny_registry.path("sd"), tmp_path / "told.safetensors", 3, text=True)
    fresh = load(tiny_registry.models["sd"], tiny_registry.path("sd"), "cpu", Memory(2**20))
    resident = replace(fresh, loras=Loras(tmp_path))
    plain = replace(jobs("sd")[0], prompt=LONG)
    worn = replace(plain, id="worn", loras=(Lora("told", 0.7),))
    company, alone = Rig({"sd": resident}), Rig({"sd": resident})
    company.run(plain, worn)
    alone.run(worn)
    assert np.abs(company.pixels(worn) - alone.pixels(worn)).max() <= 1
    expected = truth(residents["sd"], plain, PIECES, ["", "", ""])
    assert np.abs(company.pixels(plain) - expected).max() <= 1
    assert np.abs(company.pixels(worn) - company.pixels(plain)).max() > 8


LETTERS = "".join(chr(97 + n * 7 % 26) for n in range(700))
CUT = {"sd3": 160, "flux": 160, "flux2": 90, "klein": 90, "zimage": 90, "qwen": 700}
"""So many characters are too many for each of the tiny tokenizers, which count them."""


@pytest.mark.parametrize("family", CUT)
def test_what_is_said_to_be_unread_is_what_changes_nothing(
    family: str, made_alone: Callable[[Job], Image], jobs: Jobs
) -> None:
    job = replace(jobs(family)[0], prompt=LETTERS[: CUT[family]])
    image = made_alone(job)
    assert image.unread.keys() == {"prompt"}
    left = image.unread["prompt"]
    head, tail = job.prompt[:-left], job.prompt[-left:]
    assert made_alone(replace(job, prompt=head + "q" * left)).pixels == image.pixels
    assert made_alone(replace(job, prompt=head[:-1] + "!" + tail)).pixels != image.pixels
    assert made_alone(replace(job, prompt=head)).unread == {}


def test_each_text_is_counted_for_itself(rig: Rig, jobs: Jobs) -> None:
    first = replace(jobs("sd3")[0], prompt="a fox", negative_prompt=f"a fox, {LETTERS[:100]}")
    second = replace(first, id="2", prompt=LETTERS[:80], negative_prompt=LETTERS[:100])
    rig.run(first, second)
    outcomes = [rig.outcomes[it.id] for it in (first, second)]
    # Of letters alone, the CLIPs read 75: more than this T5.
    assert [it.unread for it in outcomes if isinstance(it, Image)] == [
        {"negative_prompt": 30},
        {"prompt": 5, "negative_prompt": 25},
    ]


def test_a_fork_is_watched_and_nothing_else(residents: dict[str, Resident], jobs: Jobs) -> None:
    pipe = residents["sd"].pipe
    mine = fork(pipe)
    Reading(mine, jobs("sd")[0])
    assert mine.tokenizer is not pipe.tokenizer
    assert mine.tokenizer.model_max_length == 77
    assert "encode_prompt" not in vars(pipe)
