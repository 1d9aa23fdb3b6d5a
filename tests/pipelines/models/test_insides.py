"""Whose each tensor of a single file is, told by its name: as diffusers takes them, all of them."""

import json
import shutil
from collections.abc import Callable
from math import prod
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

from pipelines.models.insides import denoiser_of, inside, is_whole
from pipelines.registry import Registry
from tests import tiny_checkpoints, tiny_files

BUILD: dict[str, Callable[[Path, Path], Path]] = {
    "sd": tiny_files.build_checkpoint,
    "sdxl": tiny_checkpoints.sdxl,
    "sd3": tiny_checkpoints.sd3,
    "flux": lambda folder, file: tiny_checkpoints.flux(folder, file, whole=True),
}


@pytest.fixture
def folder(family: str, tiny_registry: Registry, tmp_path: Path) -> Path:
    special = {"sdxl": tiny_checkpoints.build_sdxl, "sd3": tiny_checkpoints.build_sd3}
    if family in special:
        return special[family](tmp_path / "folder")
    return tiny_registry.path(family)


@pytest.mark.parametrize("family", BUILD)
def test_each_component_has_its_own(family: str, folder: Path, tmp_path: Path) -> None:
    file = BUILD[family](folder, tmp_path / "one.safetensors")
    assert is_whole(file)
    pipe = DiffusionPipeline.from_pretrained(folder)
    modules = {k: it for k, it in pipe.components.items() if isinstance(it, torch.nn.Module)}
    found = inside(file, folder)
    assert found.keys() == modules.keys()
    for name, tensors in found.items():
        numbers = sum(prod(told["shape"]) for _, told in tensors)
        if (family, name) == ("sd3", "text_encoder"):
            numbers += 32 * 32  # its projection is the identity, which such files leave out
        module = modules[name].state_dict()
        if (family, name) == ("flux", "text_encoder_2"):
            module = tiny_checkpoints.once(module)
        assert numbers == sum(it.numel() for it in module.values()), name


@pytest.mark.parametrize("family", ["sdxl"])
def test_one_text_encoder_is_the_one_that_the_folder_has(folder: Path, tmp_path: Path) -> None:
    """So it is in a refiner, whose first place is empty."""
    file = tiny_checkpoints.sdxl(folder, tmp_path / "whole.safetensors")
    weights = {
        name.replace("embedders.1", "embedders.0"): it
        for name, it in load_file(file).items()
        if "embedders.0" not in name
    }
    save_file(weights, tmp_path / "refiner.safetensors")
    config = shutil.copytree(folder, tmp_path / "refiner")
    index = json.loads((config / "model_index.json").read_bytes())
    index |= {"text_encoder": [None, None], "tokenizer": [None, None]}
    (config / "model_index.json").write_text(json.dumps(index))
    found = inside(tmp_path / "refiner.safetensors", config)
    assert found.keys() == {"unet", "vae", "text_encoder_2"}
    assert len(found["text_encoder_2"]) == len(inside(file, folder)["text_encoder_2"])


def names(file: Path, folder: Path) -> dict[str, set[str]]:
    return {owner: {name for name, _ in its} for owner, its in inside(file, folder).items()}


@pytest.mark.parametrize("family", ["sd"])
def test_what_is_left_in_the_file_is_nobodys(folder: Path, tmp_path: Path) -> None:
    file = tiny_files.build_checkpoint(folder, tmp_path / "one.safetensors")
    before = names(file, folder)
    more = (
        *("model_ema.diffusion_model", "denoiser.sigmas", "embedding_manager.embedder"),
        *("text_encoders.qwen3_4b.transformer.model.embed", "lora_te_x.alpha"),
    )
    save_file(load_file(file) | {name: torch.ones(9) for name in more}, file)
    assert names(file, folder) == before


@pytest.mark.parametrize("family", ["flux"])
def test_a_denoiser_alone_is_not_whole(folder: Path, tmp_path: Path) -> None:
    assert not is_whole(tiny_checkpoints.flux(folder, tmp_path / "one.safetensors"))
    assert not is_whole(tmp_path / "one.gguf")
    assert denoiser_of(folder) == "transformer"
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(ValueError, match="names no denoiser"):
        denoiser_of(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\xff" * 20, b"\2\0\0\0\0\0\0\0[]"])
def test_what_is_no_safetensors_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "one.safetensors").write_bytes(content)
    with pytest.raises(ValueError):
        is_whole(tmp_path / "one.safetensors")
