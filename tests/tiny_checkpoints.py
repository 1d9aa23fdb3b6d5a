"""Tiny pipelines in one file with the names that their families first had, as model sites have
them: SDXL, SD 3, FLUX.1.

Where the reader tells two text encoders apart by their widths, these have different ones.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from safetensors.torch import save_file

from tests import tiny, tiny_files

Tensors = Mapping[str, torch.Tensor]
Layers = Iterable[tuple[str, Sequence[str]]]
"""(a layer's first name, the layers that became of it)."""

_WIDER = 48

_OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_ZIMAGE = {
    "final_layer.": "all_final_layer.2-1.",
    "x_embedder.": "all_x_embedder.2-1.",
    ".attention.out.": ".attention.to_out.0.",
    ".attention.k_norm.": ".attention.norm_k.",
    ".attention.q_norm.": ".attention.norm_q.",
}
_QKV = ("to_q", "to_k", "to_v")
_ADDED = ("add_q_proj", "add_k_proj", "add_v_proj")


def build_sdxl(folder: Path) -> Path:
    """Save a pipeline whose second text encoder is the wider one."""
    torch.manual_seed(11)
    return tiny.save(tiny.sdxl(_WIDER), folder)


def build_sd3(folder: Path) -> Path:
    """The same; the projection of the first one is the identity, and is not in such files."""
    torch.manual_seed(12)
    pipe = tiny.sd3(_WIDER)
    with torch.no_grad():
        pipe.text_encoder.text_projection.weight.copy_(torch.eye(32))
    return tiny.save(pipe, folder)


def sdxl(pipeline: Path, file: Path) -> Path:
    """All of an SDXL in one file."""
    pipe = DiffusionPipeline.from_pretrained(pipeline)
    unet = dict(pipe.unet.state_dict())
    added = _layers(
        unet,
        [
            ("label_emb.0.0", ["add_embedding.linear_1"]),
            ("label_emb.0.2", ["add_embedding.linear_2"]),
        ],
    )
    unet = {k: v for k, v in unet.items() if not k.startswith("add_embedding.")}
    whole = {
        **_under("model.diffusion_model.", {tiny_files._unet(k): v for k, v in unet.items()}),
        **_under("model.diffusion_model.", added),
        **_under("conditioner.embedders.0.transformer.", _wrapped(pipe.text_encoder)),
        **_under("conditioner.embedders.1.model.", _open_clip(pipe.text_encoder_2)),
        **_under("first_stage_model.", tiny_files.first_stage(pipe.vae)),
    }
    return _write(whole, file)


def sd3(pipeline: Path, file: Path) -> Path:
    """All of an SD 3 in one file, its T5 included."""
    pipe = DiffusionPipeline.from_pretrained(pipeline)
    clip = dict(_wrapped(pipe.text_encoder))
    del clip["text_projection.weight"]
    whole = {
        **_under("model.diffusion_model.", _sd3(pipe.transformer.state_dict())),
        **_under("text_encoders.clip_l.transformer.", clip),
        **_under("text_encoders.clip_g.transformer.", _wrapped(pipe.text_encoder_2)),
        **_under("text_encoders.t5xxl.transformer.", pipe.text_encoder_3.state_dict()),
        **_under("first_stage_model.", tiny_files.first_stage(pipe.vae)),
    }
    return _write(whole, file)


def flux(pipeline: Path, file: Path, whole: bool = False) -> Path:
    """The transformer of a FLUX.1 in a file; or all of it, as in files for ComfyUI, which have a
    T5's embeddings under one of their two names."""
    pipe = DiffusionPipeline.from_pretrained(pipeline)
    transformer = _flux(pipe.transformer.state_dict())
    if not whole:
        return _write(transformer, file)
    everything = {
        **_under("model.diffusion_model.", transformer),
        **_under("text_encoders.clip_l.transformer.", _wrapped(pipe.text_encoder)),
        **_under("text_encoders.t5xxl.transformer.", once(pipe.text_encoder_2.state_dict())),
        **_under("vae.", tiny_files.first_stage(pipe.vae)),
    }
    return _write(everything, file)


def zimage(pipeline: Path, file: Path) -> Path:
    """The transformer of a Z-Image in a file, with a norm that it does not apply."""
    pipe = DiffusionPipeline.from_pretrained(pipeline)
    state = dict(pipe.transformer.state_dict())
    named: dict[str, torch.Tensor] = {"norm_final.weight": torch.ones(8)}
    for name, weight in state.items():
        if name.endswith("attention.to_q.weight"):
            qkv = [state[name.replace("to_q", f"to_{it}")] for it in "qkv"]
            named[name.replace("to_q", "qkv")] = torch.cat(qkv)
        elif not name.endswith(("attention.to_k.weight", "attention.to_v.weight")):
            for new, old in _ZIMAGE.items():
                name = name.replace(old, new)
            named[name] = weight
    return _write(_under("model.diffusion_model.", named), file)


def once(t5: Tensors) -> Tensors:
    """A T5's tensors without its embeddings' second name."""
    return {name: it for name, it in t5.items() if name != "encoder.embed_tokens.weight"}


def _write(tensors: Tensors, file: Path) -> Path:
    save_file({name: it.clone().contiguous() for name, it in tensors.items()}, file)
    return file


def _under(prefix: str, tensors: Tensors) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": it for name, it in tensors.items()}


def _layers(state: Tensors, table: Layers) -> dict[str, torch.Tensor]:
    """Layers by their first names, those that were one put together again."""
    return {
        f"{first}.{kind}": torch.cat([state[f"{name}.{kind}"] for name in names])
        for first, names in table
        for kind in ("weight", "bias")
    }


def _shift_before_scale(state: Tensors, first: str, name: str) -> dict[str, torch.Tensor]:
    halves = {kind: state[f"{name}.{kind}"].chunk(2) for kind in ("weight", "bias")}
    return {f"{first}.{kind}": torch.cat([b, a]) for kind, (a, b) in halves.items()}


def _wrapped(encoder: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A CLIP's tensors, its text model under that name, which not every class has."""
    inside = ("text_model.", "text_projection.")
    return {
        name if name.startswith(inside) else f"text_model.{name}": it
        for name, it in encoder.state_dict().items()
    }


def _open_clip(encoder: torch.nn.Module) -> dict[str, torch.Tensor]:
    state = {k.removeprefix("text_model."): v for k, v in _wrapped(encoder).items()}
    count = len({k.split(".")[2] for k in state if k.startswith("encoder.layers.")})
    found = {
        "positional_embedding": state["embeddings.position_embedding.weight"],
        "token_embedding.weight": state["embeddings.token_embedding.weight"],
        "text_projection": state["text_projection.weight"].T,
        **_layers(state, [("ln_final", ["final_layer_norm"])]),
    }
    for number in range(count):
        layer, block = f"encoder.layers.{number}", f"transformer.resblocks.{number}"
        names = [(f"{block}.{theirs}", [f"{layer}.{ours}"]) for ours, theirs in _OPEN_CLIP.items()]
        found |= _layers(state, names)
        qkv = [f"{layer}.self_attn.{it}_proj" for it in "qkv"]
        for kind in ("weight", "bias"):
            fused = torch.cat([state[f"{it}.{kind}"] for it in qkv])
            found[f"{block}.attn.in_proj_{kind}"] = fused
    return found


def _flux(state: Tensors) -> dict[str, torch.Tensor]:
    embedders = {"timestep": "time_in", "text": "vector_in", "guidance": "guidance_in"}
    table = [
        (f"{first}.{side}_layer", [f"time_text_embed.{name}_embedder.linear_{number}"])
        for name, first in embedders.items()
        for side, number in (("in", 1), ("out", 2))
    ]
    table += [("txt_in", ["context_embedder"]), ("img_in", ["x_embedder"])]
    table += [("final_layer.linear", ["proj_out"])]
    found = _layers(state, table)
    found |= _shift_before_scale(state, "final_layer.adaLN_modulation.1", "norm_out.linear")
    for number in range(_blocks(state, "transformer_blocks.")):
        found |= _flux_double(state, f"double_blocks.{number}", f"transformer_blocks.{number}")
    for number in range(_blocks(state, "single_transformer_blocks.")):
        block, name = f"single_blocks.{number}", f"single_transformer_blocks.{number}"
        wide = [*(f"{name}.attn.{it}" for it in _QKV), f"{name}.proj_mlp"]
        table = [(f"{block}.linear1", wide), (f"{block}.linear2", [f"{name}.proj_out"])]
        found |= _layers(state, [*table, (f"{block}.modulation.lin", [f"{name}.norm.linear"])])
        for side in ("query", "key"):
            norm = state[f"{name}.attn.norm_{side[0]}.weight"]
            found[f"{block}.norm.{side}_norm.scale"] = norm
    return found


def _flux_double(state: Tensors, block: str, name: str) -> dict[str, torch.Tensor]:
    found = _layers(
        state,
        [
            (f"{block}.img_mod.lin", [f"{name}.norm1.linear"]),
            (f"{block}.txt_mod.lin", [f"{name}.norm1_context.linear"]),
            (f"{block}.img_attn.qkv", [f"{name}.attn.{it}" for it in _QKV]),
            (f"{block}.txt_attn.qkv", [f"{name}.attn.{it}" for it in _ADDED]),
            (f"{block}.img_attn.proj", [f"{name}.attn.to_out.0"]),
            (f"{block}.txt_attn.proj", [f"{name}.attn.to_add_out"]),
            (f"{block}.img_mlp.0", [f"{name}.ff.net.0.proj"]),
            (f"{block}.img_mlp.2", [f"{name}.ff.net.2"]),
            (f"{block}.txt_mlp.0", [f"{name}.ff_context.net.0.proj"]),
            (f"{block}.txt_mlp.2", [f"{name}.ff_context.net.2"]),
        ],
    )
    for stream, kind in (("img", "norm_"), ("txt", "norm_added_")):
        for side in ("query", "key"):
            scale = state[f"{name}.attn.{kind}{side[0]}.weight"]
            found[f"{block}.{stream}_attn.norm.{side}_norm.scale"] = scale
    return found


def _sd3(state: Tensors) -> dict[str, torch.Tensor]:
    table = [
        ("x_embedder.proj", ["pos_embed.proj"]),
        ("context_embedder", ["context_embedder"]),
        ("final_layer.linear", ["proj_out"]),
    ]
    for name, first in (("timestep", "t"), ("text", "y")):
        for number in (1, 2):
            layer = f"time_text_embed.{name}_embedder.linear_{number}"
            table.append((f"{first}_embedder.mlp.{2 * number - 2}", [layer]))
    found = _layers(state, table) | {"pos_embed": state["pos_embed.pos_embed"]}
    found |= _shift_before_scale(state, "final_layer.adaLN_modulation.1", "norm_out.linear")
    count = _blocks(state, "transformer_blocks.")
    for number in range(count):
        found |= _sd3_block(state, number, last=number == count - 1)
    return found


def _sd3_block(state: Tensors, number: int, last: bool) -> dict[str, torch.Tensor]:
    name, block = f"transformer_blocks.{number}", f"joint_blocks.{number}"
    image, text = f"{block}.x_block", f"{block}.context_block"
    table = [
        (f"{image}.adaLN_modulation.1", [f"{name}.norm1.linear"]),
        (f"{image}.attn.qkv", [f"{name}.attn.{it}" for it in _QKV]),
        (f"{text}.attn.qkv", [f"{name}.attn.{it}" for it in _ADDED]),
        (f"{image}.attn.proj", [f"{name}.attn.to_out.0"]),
        (f"{image}.mlp.fc1", [f"{name}.ff.net.0.proj"]),
        (f"{image}.mlp.fc2", [f"{name}.ff.net.2"]),
    ]
    norms = {f"{image}.attn.ln_": "attn.norm_", f"{text}.attn.ln_": "attn.norm_added_"}
    if f"{name}.attn2.to_q.weight" in state:
        table.append((f"{image}.attn2.qkv", [f"{name}.attn2.{it}" for it in _QKV]))
        table.append((f"{image}.attn2.proj", [f"{name}.attn2.to_out.0"]))
        norms[f"{image}.attn2.ln_"] = "attn2.norm_"
    modulation = f"{text}.adaLN_modulation.1", f"{name}.norm1_context.linear"
    if not last:
        table += [
            (modulation[0], [modulation[1]]),
            (f"{text}.attn.proj", [f"{name}.attn.to_add_out"]),
            (f"{text}.mlp.fc1", [f"{name}.ff_context.net.0.proj"]),
            (f"{text}.mlp.fc2", [f"{name}.ff_context.net.2"]),
        ]
    found = _layers(state, table)
    if last:
        found |= _shift_before_scale(state, *modulation)
    for first, norm in norms.items():
        found |= {f"{first}{it}.weight": state[f"{name}.{norm}{it}.weight"] for it in "qk"}
    return found


def _blocks(state: Tensors, prefix: str) -> int:
    return len({k.removeprefix(prefix).split(".")[0] for k in state if k.startswith(prefix)})
