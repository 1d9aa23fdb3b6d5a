"""The tiny pipelines as one file, as model sites have them: the first layout of Stable Diffusion,
and GGUF."""

from collections.abc import Mapping
from pathlib import Path

import gguf
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

Tensors = Mapping[str, torch.Tensor]

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "down_blocks.0.resnets.0": "input_blocks.1.0",
    "down_blocks.0.downsamplers.0.conv": "input_blocks.2.0.op",
    "down_blocks.1.resnets.0": "input_blocks.3.0",
    "down_blocks.1.attentions.0": "input_blocks.3.1",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
    "up_blocks.0.resnets.0": "output_blocks.0.0",
    "up_blocks.0.attentions.0": "output_blocks.0.1",
    "up_blocks.0.resnets.1": "output_blocks.1.0",
    "up_blocks.0.attentions.1": "output_blocks.1.1",
    "up_blocks.0.upsamplers.0": "output_blocks.1.2",
    "up_blocks.1.resnets.0": "output_blocks.2.0",
    "up_blocks.1.resnets.1": "output_blocks.3.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_VAE_BLOCKS = ("down_blocks", "up_blocks", "mid_block")
_VAE_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}


def build_checkpoint(pipeline: Path, file: Path) -> Path:
    """All of the tiny `sd` in one file, with the names that its family first had."""
    pipe = DiffusionPipeline.from_pretrained(pipeline)
    tensors = {
        **{f"model.diffusion_model.{_unet(k)}": v for k, v in pipe.unet.state_dict().items()},
        **{
            f"cond_stage_model.transformer.text_model.{k}": v
            for k, v in pipe.text_encoder.state_dict().items()
        },
        **{f"first_stage_model.{k}": v for k, v in first_stage(pipe.vae).items()},
    }
    save_file({name: it.clone().contiguous() for name, it in tensors.items()}, file)
    return file


def first_stage(vae: torch.nn.Module) -> dict[str, torch.Tensor]:
    """An autoencoder's tensors, by the names that they first had."""
    told = {"conv_norm_out": "norm_out", "conv_shortcut": "nin_shortcut"}
    found = {}
    for key, tensor in vae.state_dict().items():
        name = _vae(key)
        for ours, theirs in told.items():
            name = name.replace(ours, theirs)
        is_matrix = ".attn_1." in name and tensor.ndim == 2
        found[name] = tensor[..., None, None] if is_matrix else tensor
    return found


def build_denoiser(pipeline: Path, file: Path) -> Path:
    """The denoiser alone, with the names of diffusers."""
    pipe = DiffusionPipeline.from_pretrained(pipeline)
    save_file({k: v.contiguous() for k, v in _denoiser(pipe).state_dict().items()}, file)
    return file


def build_gguf(pipeline: Path, file: Path) -> dict[str, torch.Tensor]:
    """The denoiser alone, its large weights in 8 bits; returns the weights as they are then."""
    pipe = DiffusionPipeline.from_pretrained(pipeline)
    writer = gguf.GGUFWriter(file, "tiny")
    kind = gguf.GGMLQuantizationType.Q8_0
    become = {}
    for name, tensor in _denoiser(pipe).state_dict().items():
        plain = tensor.numpy()
        if tensor.ndim == 2 and tensor.shape[1] % 32 == 0:
            stored = gguf.quants.quantize(plain, kind)
            writer.add_tensor(name, stored, raw_dtype=kind)
            become[name] = torch.from_numpy(gguf.quants.dequantize(stored, kind))
        else:
            writer.add_tensor(name, plain)
            become[name] = tensor
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return become


def scale_to_float8(
    file: Path, suffix: str = ".scale_weight", rows: bool = False, **metadata: str
) -> Path:
    """Store a file's matrices in scaled float8, with the names of scales that ComfyUI gives; and
    return another file with the plain weights that they stand for."""
    stored, plain = {}, {}
    for name, it in load_file(file).items():
        stored[name] = plain[name] = it
        if it.ndim != 2 or not name.endswith(".weight"):
            continue
        scale = (it.abs().amax(1, keepdim=True) if rows else it.abs().max()) / 448 + 1e-9
        stored[name] = (it / scale).to(torch.float8_e4m3fn)
        stored[name.removesuffix(".weight") + suffix] = scale
        plain[name] = stored[name].float() * scale
    if suffix == ".scale_weight":
        stored["scaled_fp8"] = torch.empty(2, dtype=torch.float8_e4m3fn)
        matrix = next(it for it in stored if it.endswith(suffix))
        stored[matrix.removesuffix(suffix) + ".scale_input"] = torch.tensor(0.5)
    other = file.with_name(f"plain-{file.name}")
    save_file(plain, other)
    save_file(stored, file, metadata or None)
    return other


def _denoiser(pipe: DiffusionPipeline) -> torch.nn.Module:
    return pipe.components.get("transformer") or pipe.unet


def _unet(key: str) -> str:
    part = next(part for part in _UNET if key.startswith(f"{part}."))
    rest = key.removeprefix(part)
    if ".resnets." in f".{part}":
        layer, _, kind = rest[1:].rpartition(".")
        return f"{_UNET[part]}.{_RESNET[layer]}.{kind}"
    return _UNET[part] + rest


def _vae(key: str) -> str:
    parts = key.split(".")
    if parts[1] not in _VAE_BLOCKS:
        return key
    side, block, *rest = parts
    if block == "mid_block":
        kind, number, *rest = rest
        if kind == "attentions":
            name = ".".join(rest[:-1])
            return f"{side}.mid.attn_1.{_VAE_ATTENTION[name]}.{rest[-1]}"
        return ".".join([side, "mid", f"block_{int(number) + 1}", *rest])
    level, kind, number, *rest = rest
    where = f"{side}.down.{level}" if block == "down_blocks" else f"{side}.up.{3 - int(level)}"
    if kind == "resnets":
        return ".".join([where, "block", number, *rest])
    return ".".join([where, "downsample" if "down" in kind else "upsample", *rest])
