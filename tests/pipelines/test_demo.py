"""Does the *right* picture come back? Sixteen prompts in one company, each drawn by its own words.

A swapped lane, a lost prompt or a row too many shows at once, which random weights could hide.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.core import Image, Job
from pipelines.lanes.memory import Memory
from pipelines.models.loader import load
from pipelines.registry import Registry
from tests.pipelines.conftest import Rig
from tools.train_demo.measure import measure
from tools.train_demo.scenes import COLOURS

ROOT = Path(__file__).parents[2]
CHINESE = {"red": "红色", "green": "绿色", "blue": "蓝色", "black": "黑色"}


@pytest.fixture(scope="module")
def demo() -> Rig:
    registry = Registry(ROOT / "weights.yaml", ROOT / "models")
    resident = load(registry.models["demo"], registry.path("demo"), "cpu", Memory(2**24))
    return Rig({"demo": resident})


def prompts() -> list[tuple[str, str, str]]:
    """(prompt, colour, background), no two alike."""
    colours = list(COLOURS)
    pairs = [(colour, colours[(n + 4) % len(colours)]) for n, colour in enumerate(colours)]
    english = [(f"a large {c} circle on a {b} background", c, b) for c, b in pairs]
    chinese = [(f"一个大的{CHINESE[c]}圆形,白色背景", c, "white") for c in CHINESE]
    return english + chinese


def test_each_of_many_gets_its_own_picture(demo: Rig) -> None:
    wanted = prompts()
    jobs = [
        Job(
            id=str(n), model="demo", prompt=text, width=256, height=256, seed=n,
            steps=4 + n % 5, guidance_scale=0,
        )
        for n, (text, _, _) in enumerate(wanted)
    ]  # fmt: skip
    demo.run(*jobs)
    assert max(demo.passes) >= 8
    images = torch.from_numpy(np.stack([demo.pixels(job) for job in jobs])).permute(0, 3, 1, 2)
    found = [
        (image.blobs[0].colour if image.blobs else None, image.background)
        for image in measure(images.float() / 127.5 - 1)
    ]
    assert found == [(colour, background) for _, colour, background in wanted]


def test_a_prompt_of_4000_characters(demo: Rig) -> None:
    """Words that it does not know are no tokens (nor is "a"): so it reads the last word, or not."""
    filler = "perhaps tomorrow " * 235
    known = "a large red circle on a white background, " * 95
    first = Job(
        id="filler", model="demo", prompt=f"{filler}a blue circle", width=256, height=256, seed=1,
        steps=4, guidance_scale=0,
    )  # fmt: skip
    second = replace(first, id="known", prompt=f"{known}a blue circle")
    demo.run(first, second)
    read, cut = (demo.outcomes[job.id] for job in (first, second))
    assert isinstance(read, Image)
    assert isinstance(cut, Image)
    assert read.unread == {}
    assert cut.unread == {"prompt": 95 * 6 + 2 - 20}
    pixels = np.stack([demo.pixels(job) for job in (first, second)])
    found = measure(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1)
    assert [image.blobs[0].colour for image in found] == ["blue", "red"]
