"""Tiny, real diffusers pipelines with random weights, saved as their families save theirs.

The newer half of them is in `tiny_language`.

Weights are scaled so that images have contrast and follow their prompts: a test that compares two
images would otherwise compare two greys.
"""

import string
from pathlib import Path

import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    PreTrainedTokenizerBase,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from tests import tiny_language
from tests.tiny_language import autoencoder

FAMILIES = ("sd", "sdxl", "sd3", "flux", *tiny_language.BUILDERS)
FIRST = FAMILIES[:4]
"""Enough of them, for what is the same with all."""
INSTRUCTED = ("flux2", "klein")
"""Those that are told what to do with a picture, and have no strength."""


def build(family: str, folder: Path) -> Path:
    """Save a tiny pipeline of a family under `folder`, and return where."""
    torch.manual_seed(FAMILIES.index(family))
    return save(_BUILDERS[family](), folder / family)


def build_wide(folder: Path) -> Path:
    """Save a Flux as wide as it must be for weights that are stored in blocks of 64."""
    torch.manual_seed(0)
    return save(flux(16, 64, d_ff=128, d_kv=16), folder)


def save(pipe: DiffusionPipeline, folder: Path) -> Path:
    """Save a pipeline, of which images shall have contrast, in a folder, and return it."""
    _add_contrast(pipe)
    pipe.save_pretrained(folder, safe_serialization=True)
    return folder


def _clip_tokenizer() -> PreTrainedTokenizerBase:
    letters = sorted(ByteLevel.alphabet())
    pieces = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{a}</w>" for a in letters)]
    vocab = {piece: index for index, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=77)


def _t5_tokenizer() -> PreTrainedTokenizerBase:
    pieces = ["<pad>", "</s>", "<unk>", "▁", *string.printable]
    return T5Tokenizer(vocab=[(piece, -1.0) for piece in pieces], extra_ids=0, model_max_length=32)


def _clip(projection: bool = False, width: int = 32) -> torch.nn.Module:
    config = CLIPTextConfig(
        vocab_size=len(_clip_tokenizer()),
        hidden_size=width,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=3,
        projection_dim=width,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        initializer_factor=10.0,
    )
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config).eval()


def _t5(width: int = 32, d_ff: int = 37, d_kv: int = 8) -> torch.nn.Module:
    size = {"d_model": width, "d_ff": d_ff, "d_kv": d_kv, "num_heads": 4, "num_layers": 2}
    return T5EncoderModel(T5Config(vocab_size=len(_t5_tokenizer()), **size)).eval()


def _unet(**config: object) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        **{
            "sample_size": 32,
            "block_out_channels": (32, 32),
            "layers_per_block": 1,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
            "cross_attention_dim": 32,
            "attention_head_dim": 8,
            "norm_num_groups": 8,
        }
        | config
    )


def _sd() -> DiffusionPipeline:
    return StableDiffusionPipeline(
        vae=autoencoder(),
        text_encoder=_clip(),
        tokenizer=_clip_tokenizer(),
        unet=_unet(),
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sdxl(width: int = 32) -> DiffusionPipeline:
    """SDXL, its second text encoder so wide."""
    return StableDiffusionXLPipeline(
        vae=autoencoder(),
        text_encoder=_clip(),
        text_encoder_2=_clip(projection=True, width=width),
        tokenizer=_clip_tokenizer(),
        tokenizer_2=_clip_tokenizer(),
        unet=_unet(
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + width,
            cross_attention_dim=32 + width,
        ),
        scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear", steps_offset=1),
    )


def sd3(width: int = 32) -> DiffusionPipeline:
    """SD 3, its second text encoder so wide."""
    return StableDiffusion3Pipeline(
        vae=autoencoder(16, shift_factor=0.06, scaling_factor=1.5),
        text_encoder=_clip(projection=True),
        text_encoder_2=_clip(projection=True, width=width),
        text_encoder_3=_t5(32 + width),
        tokenizer=_clip_tokenizer(),
        tokenizer_2=_clip_tokenizer(),
        tokenizer_3=_t5_tokenizer(),
        transformer=SD3Transformer2DModel(
            sample_size=32,
            patch_size=2,
            in_channels=16,
            out_channels=16,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=4,
            joint_attention_dim=32 + width,
            caption_projection_dim=32,
            pooled_projection_dim=32 + width,
            dual_attention_layers=(0,),
            qk_norm="rms_norm",
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def flux(latent_channels: int = 4, width: int = 32, **t5: int) -> DiffusionPipeline:
    """FLUX.1, all of it so wide."""
    return FluxPipeline(
        vae=autoencoder(latent_channels, shift_factor=0.06, scaling_factor=1.5),
        text_encoder=_clip(width=width),
        text_encoder_2=_t5(width, **t5),
        tokenizer=_clip_tokenizer(),
        tokenizer_2=_t5_tokenizer(),
        transformer=FluxTransformer2DModel(
            in_channels=4 * latent_channels,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=width // 16,
            joint_attention_dim=width,
            pooled_projection_dim=width,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=True,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    )


_BUILDERS = {"sd": _sd, "sdxl": sdxl, "sd3": sd3, "flux": flux, **tiny_language.BUILDERS}


@torch.no_grad()
def _add_contrast(pipe: DiffusionPipeline) -> None:
    """Scale the decoder's last layer until a decoded noise has a spread of half the range."""
    config = pipe.vae.config
    frames = (1,) if "temperal_downsample" in config else ()
    channels = config.z_dim if frames else config.latent_channels
    noise = torch.randn(1, channels, *frames, 16, 16)
    pipe.vae.decoder.conv_out.bias.zero_()
    pipe.vae.decoder.conv_out.weight.mul_(0.5 / pipe.vae.decode(noise).sample.std())
