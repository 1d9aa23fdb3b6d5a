"""LoRAs for the tiny pipelines, strong enough to be seen, in the formats that people share."""

from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import load_file, save_file

_ATTENTION = ["to_q", "to_k", "to_v"]
_TEXT = ["q_proj", "k_proj", "v_proj", "out_proj"]
_RANK = 4


def build(pipeline: Path, file: Path, seed: int, text: bool = False) -> Path:
    """Save a LoRA of random weights for a pipeline, as diffusers does; `text`: for its first text
    encoder, too."""
    pipe = DiffusionPipeline.from_pretrained(pipeline)
    torch.manual_seed(seed)
    name = "unet" if hasattr(pipe, "unet") else "transformer"
    layers = {f"{name}_lora_layers": _adapted(getattr(pipe, name), _ATTENTION)}
    if text:
        layers["text_encoder_lora_layers"] = _adapted(pipe.text_encoder, _TEXT)
    file.parent.mkdir(parents=True, exist_ok=True)
    pipe.save_lora_weights(file.parent, weight_name=file.name, **layers)
    return file


def build_kohya(pipeline: Path, file: Path, seed: int) -> Path:
    """The same for a UNet and its text encoder, with the names that the trainers give from which
    most single files come, and an alpha that is not the rank."""
    pipe = DiffusionPipeline.from_pretrained(pipeline)
    torch.manual_seed(seed)
    named = {}
    for part, module, kinds in (
        ("lora_unet", pipe.unet, _ATTENTION),
        ("lora_te_text_model", pipe.text_encoder, _TEXT),
    ):
        for key, weights in _adapted(module, kinds).items():
            layer, _, side = key.removesuffix(".weight").rpartition(".lora_")
            name = f"{part}_{layer.replace('.', '_')}"
            named[f"{name}.lora_{'down' if side == 'A' else 'up'}.weight"] = weights
            named[f"{name}.alpha"] = torch.tensor(_RANK / 2)
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(named, file)
    return file


def build_kohya_flux(pipeline: Path, file: Path, seed: int) -> Path:
    """The same for Flux, whose queries, keys and values are one layer there."""
    pipe = DiffusionPipeline.from_pretrained(pipeline)
    torch.manual_seed(seed)
    width = pipe.transformer.inner_dim
    named = {}
    for block in range(len(pipe.transformer.transformer_blocks)):
        for side in ("img", "txt"):
            name = f"lora_unet_double_blocks_{block}_{side}_attn_qkv"
            named[f"{name}.lora_down.weight"] = torch.randn(_RANK, width) / 2
            named[f"{name}.lora_up.weight"] = torch.randn(3 * width, _RANK) / 2
            named[f"{name}.alpha"] = torch.tensor(_RANK / 2)
    save_file(named, file)
    return file


def build_flux_alphas(pipeline: Path, file: Path, seed: int) -> Path:
    """The same for Flux with the names of diffusers, and an alpha beside each layer."""
    build(pipeline, file, seed)
    named = dict(load_file(file))
    for key in [key for key in named if key.endswith(".lora_A.weight")]:
        named[key.replace(".lora_A.weight", ".alpha")] = torch.tensor(_RANK / 2)
    save_file(named, file)
    return file


def _adapted(module: Any, layers: list[str]) -> dict[str, torch.Tensor]:
    config = LoraConfig(r=_RANK, target_modules=layers, init_lora_weights=False)
    module.add_adapter(config)
    return {k: 1.5 * v.contiguous() for k, v in get_peft_model_state_dict(module).items()}
