"""SD 1.5, SDXL and FLUX.1 at full size with random weights, made on the device: for timings only.

Speed does not depend on the values. Nothing is read or fetched; tokenizers are the tiny ones.
"""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
)

from tests import tiny

SPREAD = 0.02
"""The standard deviation of all weights: activations stay finite."""


@dataclass(frozen=True)
class Size:
    """How much smaller than the real one everything is; 1 is the real one."""

    layers: int = 1
    width: int = 1

    def deep(self, count: int) -> int:
        """A number of layers."""
        return max(1, count // self.layers)

    def wide(self, count: int) -> int:
        """A number of heads, or a width."""
        return max(1, count // self.width)

    def channels(self, count: int) -> int:
        """A number of channels of a convolution: a multiple of 32, the number of norm groups."""
        return max(32, count // self.width // 32 * 32)


def flux(size: Size) -> Any:
    """FLUX.1: 12 billion parameters, and a T5 of 4.7 billion."""
    transformer = FluxTransformer2DModel(
        in_channels=64,
        num_layers=size.deep(19),
        num_single_layers=size.deep(38),
        attention_head_dim=128,
        num_attention_heads=size.wide(24),
        joint_attention_dim=size.wide(4096),
        pooled_projection_dim=768,
        guidance_embeds=True,
    )
    return FluxPipeline(
        _flow_match(),
        _autoencoder(16, size),
        _clip(768, size.deep(12)),
        tiny._clip_tokenizer(),
        _t5(size),
        tiny._t5_tokenizer(),
        transformer,
    )


def sdxl(size: Size) -> Any:
    """SDXL: 2.6 billion parameters."""
    unet = UNet2DConditionModel(
        sample_size=128,
        block_out_channels=tuple(size.channels(count) for count in (320, 640, 1280)),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, size.deep(2), size.deep(10)),
        attention_head_dim=tuple(size.wide(count) for count in (5, 10, 20)),
        cross_attention_dim=2048,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
        use_linear_projection=True,
    )
    return StableDiffusionXLPipeline(
        _autoencoder(4, size),
        _clip(768, size.deep(12)), _clip(1280, size.deep(32), projection=True),
        tiny._clip_tokenizer(), tiny._clip_tokenizer(), unet, _euler(),
    )  # fmt: skip


def sd15(size: Size) -> Any:
    """Stable Diffusion 1.5: 0.9 billion parameters."""
    unet = UNet2DConditionModel(
        sample_size=64,
        block_out_channels=tuple(size.channels(count) for count in (320, 640, 1280, 1280)),
        attention_head_dim=size.wide(8),
        cross_attention_dim=768,
    )
    return StableDiffusionPipeline(
        _autoencoder(4, size), _clip(768, size.deep(12)), tiny._clip_tokenizer(), unet, _euler(),
        None, None, requires_safety_checker=False,
    )  # fmt: skip


FAMILIES = {"flux": flux, "sdxl": sdxl, "sd-1.5": sd15}


def build(family: str, device: str, dtype: torch.dtype, size: Size) -> Any:
    """A pipeline on the device, its weights random and small."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            pipe = FAMILIES[family](size)
    finally:
        torch.set_default_dtype(before)
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            _randomise(part.to(device, dtype).eval())
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _randomise(module: torch.nn.Module) -> None:
    with torch.no_grad():
        for name, weights in module.named_parameters():
            if weights.ndim > 1:
                weights.normal_(0, SPREAD)
            elif "norm" not in name:
                weights.zero_()


def _flow_match() -> FlowMatchEulerDiscreteScheduler:
    with torch.device("cpu"):  # noise schedulers compute their tables with numpy
        return FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)


def _euler() -> EulerDiscreteScheduler:
    with torch.device("cpu"):
        return EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        )


def _autoencoder(channels: int, size: Size) -> AutoencoderKL:
    widths = tuple(size.channels(count) for count in (128, 256, 512, 512))
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=widths,
        layers_per_block=2,
        latent_channels=channels,
        use_quant_conv=channels == 4,
        use_post_quant_conv=channels == 4,
        shift_factor=0.0,
    )


def _clip(width: int, layers: int, projection: bool = False) -> Any:
    kind = CLIPTextModelWithProjection if projection else CLIPTextModel
    return kind(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=width,
            intermediate_size=4 * width,
            num_attention_heads=width // 64,
            num_hidden_layers=layers,
            projection_dim=width,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    )


def _t5(size: Size) -> T5EncoderModel:
    width = size.wide(4096)
    return T5EncoderModel(
        T5Config(
            vocab_size=32128,
            d_model=width,
            d_ff=size.wide(10240),
            d_kv=64,
            num_heads=size.wide(64),
            num_layers=size.deep(24),
            feed_forward_proj="gated-gelu",
        )
    )
