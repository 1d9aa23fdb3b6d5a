"""The families whose own processors need torchvision, with these: saved and loaded as they are."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from diffusers import DiffusionPipeline, QwenImageEditPipeline, QwenImageEditPlusPipeline

from pipelines.core import Job
from pipelines.lanes.memory import Memory
from pipelines.models.loader import Resident, load
from pipelines.registry import Registry
from tests.conftest import entry
from tests.pipelines.conftest import Rig
from tests.pipelines.tasks.test_references import assert_all_made, edits, small

pytest.importorskip("torchvision", reason="torchvision is not installed: darkroom[vision]")

__all__ = ["edits", "small"]  # fixtures

Edits = Callable[[str], list[Job]]


def loaded(pipe: DiffusionPipeline, folder: Path, **keys: object) -> Resident:
    """A pipeline saved in its own layout, and read by a weights file."""
    pipe.save_pretrained(folder / "own")
    own = entry(str(folder / "own")) | {"edit": "own"} | keys
    (folder / "weights.yaml").write_text(yaml.safe_dump({"models": {"own": own}}))
    registry = Registry(folder / "weights.yaml", folder)
    resident = load(registry.models["own"], registry.path("own"), "cpu", Memory(1 << 26))
    assert type(resident.pipe) is type(pipe)
    return resident


def assert_meet(resident: Resident, company: list[Job]) -> None:
    rig = Rig({"own": resident})
    rig.run(*company)
    assert max(rig.passes) >= 2
    assert_all_made(rig, resident, company)


@pytest.mark.parametrize("kind", [QwenImageEditPipeline, QwenImageEditPlusPipeline])
def test_qwen_image_edits_as_they_are_published(
    kind: type[DiffusionPipeline], residents: dict[str, Resident], edits: Edits, tmp_path: Path
) -> None:
    from transformers import Qwen2VLImageProcessor, Qwen2VLProcessor, Qwen2VLVideoProcessor

    base = residents["qwen"].pipe
    processor = Qwen2VLProcessor(
        Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=56 * 56),
        base.tokenizer,
        Qwen2VLVideoProcessor(),
        chat_template=base.tokenizer.chat_template,
    )
    pipe = kind(**base.components, processor=processor)
    resident = loaded(pipe, tmp_path, tasks=["edit"], references=2)
    assert isinstance(resident.pipe.processor, Qwen2VLProcessor)
    assert_meet(resident, edits("own"))


def test_flux_2_edits_as_it_is_published(
    residents: dict[str, Resident], edits: Edits, tmp_path: Path
) -> None:
    from transformers import PixtralImageProcessor, PixtralProcessor

    base = residents["flux2"].pipe
    processor = PixtralProcessor(
        PixtralImageProcessor(),
        base.tokenizer,
        chat_template=base.tokenizer.chat_template,
        image_token="<|image_pad|>",
        image_break_token="<|vision_start|>",
        image_end_token="<|vision_end|>",
    )
    pipe = type(base)(**base.components | {"tokenizer": processor})
    resident = loaded(pipe, tmp_path, tasks=["text2img", "edit"], references=2)
    assert isinstance(resident.pipe.tokenizer, PixtralProcessor)
    assert_meet(resident, edits("own"))
