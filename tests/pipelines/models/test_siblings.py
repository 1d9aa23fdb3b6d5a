"""Which of diffusers' pipelines does a family's task, over the same modules."""

from pathlib import Path

import diffusers
import pytest

from pipelines.core import Task, UnsupportedTask
from pipelines.models.loader import Resident
from pipelines.models.siblings import sibling, task_of
from pipelines.registry import Registry

HAVE: list[tuple[str, Task, type]] = [
    ("sd", "img2img", diffusers.StableDiffusionImg2ImgPipeline),
    ("sdxl", "inpaint", diffusers.StableDiffusionXLInpaintPipeline),
    ("flux", "inpaint", diffusers.FluxInpaintPipeline),
    ("flux2", "text2img", diffusers.Flux2Pipeline),
    ("flux2", "edit", diffusers.Flux2Pipeline),
    ("klein", "text2img", diffusers.Flux2KleinPipeline),
    ("klein", "edit", diffusers.Flux2KleinPipeline),
    ("klein", "inpaint", diffusers.Flux2KleinInpaintPipeline),
    ("qwen", "img2img", diffusers.QwenImageImg2ImgPipeline),
    ("qwen", "inpaint", diffusers.QwenImageInpaintPipeline),
    ("zimage", "img2img", diffusers.ZImageImg2ImgPipeline),
    ("zimage", "inpaint", diffusers.ZImageInpaintPipeline),
]
HAVE_NOT: list[tuple[str, Task]] = [
    ("sd", "edit"), ("flux", "edit"), ("qwen", "edit"), ("zimage", "edit"),
    ("flux2", "img2img"), ("flux2", "inpaint"), ("klein", "img2img"),
]  # fmt: skip


@pytest.mark.parametrize(("family", "task", "kind"), HAVE)
def test_a_sibling_shares_every_module(
    family: str, task: Task, kind: type, residents: dict[str, Resident]
) -> None:
    pipe = residents[family].pipe
    found = sibling(pipe, task)
    assert type(found) is kind
    for name in ("vae", "text_encoder"):
        assert getattr(found, name) is getattr(pipe, name)
    assert found.vae.dtype == pipe.vae.dtype


SHIPPED = {
    "sd-1.5": "sd", "sdxl": "sdxl", "sdxl-turbo": "sdxl", "sd-3.5-large": "sd3",
    "flux-dev": "flux", "flux-schnell": "flux", "flux-2-dev": "flux2", "flux-2-klein": "klein",
    "qwen-image": "qwen", "z-image-turbo": "zimage",
}  # fmt: skip


@pytest.mark.parametrize("model", SHIPPED)
def test_shipped_entries_promise_what_their_families_have(
    model: str, residents: dict[str, Resident]
) -> None:
    promised = Registry(Path(__file__).parents[3] / "weights.yaml", Path("models")).models[model]
    for task in promised.tasks:
        sibling(residents[SHIPPED[model]].pipe, task)


@pytest.mark.parametrize(("family", "task"), HAVE_NOT)
def test_what_a_family_has_not_is_not_made_up(
    family: str, task: Task, residents: dict[str, Resident]
) -> None:
    with pytest.raises(ValueError, match=f"has no task '{task}'"):
        sibling(residents[family].pipe, task)


def test_a_sibling_is_told_what_the_weights_say_of_themselves(
    residents: dict[str, Resident],
) -> None:
    klein = diffusers.Flux2KleinPipeline(**residents["klein"].pipe.components, is_distilled=True)
    assert sibling(klein, "inpaint").config.is_distilled


def test_what_a_pipeline_is_made_for(residents: dict[str, Resident]) -> None:
    assert {task_of(residents[it].pipe) for it in ("flux2", "klein")} == {"edit"}
    assert {task_of(residents[it].pipe) for it in ("sd", "flux", "qwen", "zimage")} == {"text2img"}
    parts = {name: it for name, it in residents["flux"].pipe.components.items() if it is not None}
    assert task_of(diffusers.FluxFillPipeline(**parts)) == "inpaint"
    kontext = diffusers.FluxKontextPipeline(**parts)
    assert task_of(kontext) == "edit"
    assert type(sibling(kontext, "text2img")) is diffusers.FluxKontextPipeline
    assert type(sibling(kontext, "inpaint")) is diffusers.FluxKontextInpaintPipeline
    assert task_of(residents["sd"].pipe_for("img2img")) == "img2img"


def test_a_task_that_a_family_has_not_is_told_as_such(residents: dict[str, Resident]) -> None:
    with pytest.raises(UnsupportedTask, match="edit"):
        residents["sd"].pipe_for("edit")
