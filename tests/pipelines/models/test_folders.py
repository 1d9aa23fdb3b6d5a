"""A folder whose components lack weights, or have others, is refused by their names."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipelines.lanes.memory import Memory
from pipelines.models.loader import load
from pipelines.registry import Registry
from pipelines.weights.manifest import WeightsError

FILES = {
    "unet": ("diffusion_pytorch_model", "conv_out.weight", "mid_block.more.weight"),
    "vae": ("diffusion_pytorch_model", "decoder.conv_out.bias", "decoder.more.weight"),
    "text_encoder": ("model", "final_layer_norm.weight", "encoder.layers.9.mlp.fc1.weight"),
}


@pytest.fixture
def changed(
    tiny_registry: Registry, tmp_path: Path
) -> Callable[[str, Callable[[dict[str, torch.Tensor]], None]], Path]:
    def changed(component: str, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
        folder = shutil.copytree(tiny_registry.path("sd"), tmp_path / "sd")
        file = folder / component / f"{FILES[component][0]}.safetensors"
        tensors = load_file(file)
        change(tensors)
        save_file(tensors, file, {"format": "pt"})
        return folder

    return changed


@pytest.mark.parametrize("component", FILES)
def test_what_is_missing_is_not_made_up(
    component: str, tiny_registry: Registry, changed: Callable[..., Path]
) -> None:
    name = FILES[component][1]
    folder = changed(component, lambda tensors: tensors.pop(name))
    with pytest.raises(WeightsError, match=rf"sd/{component} lacks .*{name}"):
        load(tiny_registry.models["sd"], folder, "cpu", Memory(0))


@pytest.mark.parametrize("component", FILES)
def test_what_has_no_place_is_not_dropped(
    component: str, tiny_registry: Registry, changed: Callable[..., Path]
) -> None:
    name = FILES[component][2]
    folder = changed(component, lambda tensors: tensors.update({name: torch.zeros(4)}))
    with pytest.raises(WeightsError, match=rf"no place for {name} of sd/{component}"):
        load(tiny_registry.models["sd"], folder, "cpu", Memory(0))


def test_a_part_that_no_pipeline_reads_does_no_harm(
    tiny_registry: Registry, changed: Callable[..., Path]
) -> None:
    more = {
        "embeddings.position_ids": torch.zeros(4),
        "vision_model.post_layernorm.weight": torch.ones(4),
    }
    folder = changed("text_encoder", lambda tensors: tensors.update(more))
    assert load(tiny_registry.models["sd"], folder, "cpu", Memory(0)).pipe.text_encoder is not None
