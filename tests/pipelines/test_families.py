"""What families can do: as diffusers has it, and told of an entry that promises more."""

import inspect
import json
from pathlib import Path
from typing import Any

import diffusers
import pytest
from diffusers.pipelines import auto_pipeline

from pipelines.families import TASKS
from pipelines.models.siblings import _NAMED
from pipelines.registry import Registry, RegistryError

TABLES = {
    "text2img": auto_pipeline.AUTO_TEXT2IMAGE_PIPELINES_MAPPING,
    "img2img": auto_pipeline.AUTO_IMAGE2IMAGE_PIPELINES_MAPPING,
    "inpaint": auto_pipeline.AUTO_INPAINT_PIPELINES_MAPPING,
}
KNOWN = sorted(name for name in TASKS if hasattr(diffusers, name))
ELSEWHERE = ("Control", "PAG", "IF", "Kandinsky", "Helios", "Layered", "Combined", "EditInpaint")
"""Pipelines that need more than a job has, or are several models."""


def made_for(kind: Any) -> str:
    takes = inspect.signature(kind.__call__).parameters
    if "mask_image" in takes:
        return "inpaint"
    if "image" in takes:
        return "img2img" if "strength" in takes else "edit"
    return "text2img"


def tasks_of(name: str) -> set[str]:
    """As `siblings` finds them, of classes alone."""
    found = {made_for(getattr(diffusers, name))}
    for task, table in TABLES.items():
        kind = auto_pipeline._get_task_class(table, name, throw_error_if_not_exist=False)
        does = made_for(kind) if kind else None
        between = _NAMED.get(task)  # type: ignore[call-overload]
        named = f"{name.removesuffix('Pipeline')}{between}Pipeline"
        if does == task or (does, task) == ("edit", "text2img") or hasattr(diffusers, named):
            found.add(task)
    return found


@pytest.mark.parametrize("name", [name for name in KNOWN if "Redux" not in name])
def test_table_has_the_tasks_that_diffusers_has(name: str) -> None:
    assert TASKS[name] == tasks_of(name)


def test_table_has_every_family_that_diffusers_makes_images_with() -> None:
    kinds = {kind.__name__ for table in TABLES.values() for kind in table.values()}
    assert {it for it in kinds - TASKS.keys() if not any(word in it for word in ELSEWHERE)} == set()


def registry(folder: Path, classes: dict[str, str], **keys: Any) -> Registry:
    """Models that have only an index: the first has these keys in its entry."""
    entries = {}
    for id, kind in classes.items():
        (folder / id).mkdir(exist_ok=True)
        (folder / id / "model_index.json").write_text(json.dumps({"_class_name": kind}))
        preset = {"steps": 4, "guidance_scale": 0}
        entries[id] = {
            "source": id,
            "dtype": "float32",
            "native": {"smallest": 64, "largest": 64, "multiple": 16},
            "quality": {"low": preset, "medium": preset, "high": preset},
            **(keys if not entries else {}),
        }
    (folder / "weights.yaml").write_text(json.dumps({"models": entries}))
    return Registry(folder / "weights.yaml", folder / "models")


@pytest.mark.parametrize("name", sorted(TASKS))
def test_entry_without_tasks_has_those_of_its_family(tmp_path: Path, name: str) -> None:
    assert registry(tmp_path, {"m": name}).models["m"].tasks == TASKS[name]


@pytest.mark.parametrize("name", sorted(TASKS))
@pytest.mark.parametrize("task", ["text2img", "img2img", "inpaint", "edit", "variation"])
def test_entry_with_a_task_that_its_family_cannot_do_is_refused(
    tmp_path: Path, name: str, task: str
) -> None:
    if task in TASKS[name]:
        assert registry(tmp_path, {"m": name}, tasks=[task]).models["m"].tasks == {task}
    else:
        with pytest.raises(RegistryError, match=rf"models.m.tasks: .*{name}.* cannot do {task}"):
            registry(tmp_path, {"m": name}, tasks=[task])


def test_entry_whose_family_is_not_known_is_taken_at_its_word(tmp_path: Path) -> None:
    assert registry(tmp_path, {"m": "MyPipeline"}, tasks=["edit"]).models["m"].tasks == {"edit"}
    plain = {"text2img", "img2img", "inpaint"}
    assert registry(tmp_path, {"m": "MyPipeline"}).models["m"].tasks == plain


def test_the_pipeline_of_the_entry_counts_before_that_of_the_index(tmp_path: Path) -> None:
    found = registry(tmp_path, {"m": "FluxPipeline"}, pipeline="Flux2Pipeline")
    assert found.models["m"].tasks == {"text2img", "edit"}


def test_weights_that_were_trained_to_inpaint_do_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "m" / "unet").mkdir(parents=True)
    (tmp_path / "m" / "unet" / "config.json").write_text('{"in_channels": 9}')
    name = "StableDiffusionXLInpaintPipeline"
    assert registry(tmp_path, {"m": name}).models["m"].tasks == {"inpaint"}
    with pytest.raises(RegistryError, match="cannot do text2img"):
        registry(tmp_path, {"m": name}, tasks=["text2img", "inpaint"])


def test_a_prior_reads_for_its_own_family_alone(tmp_path: Path) -> None:
    prior = {"prior": "FluxPriorReduxPipeline"}
    found = registry(tmp_path, {"m": "FluxPipeline"} | prior, variation="prior")
    assert found.models["prior"].tasks == {"variation"}
    with pytest.raises(RegistryError, match=r"models.m.variation: 'prior' is a FluxPriorRedux"):
        registry(tmp_path, {"m": "StableDiffusionXLPipeline"} | prior, variation="prior")
