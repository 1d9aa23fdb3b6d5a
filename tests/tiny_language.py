"""Tiny, real pipelines of the families whose text encoder is a language model; see `tiny`."""

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    MistralConfig,
    PixtralVisionConfig,
    PreTrainedTokenizerBase,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
)

WIDTH = 16
"""Of the language models; their outputs are so wide."""

_SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>",
    "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
# Only what the user said: a whole system message would be hundreds of letters, a token each.
_CHAT = """{%- for message in messages if message.role == 'user' -%}
{%- if message.content is string -%}{{ message.content }}
{%- else -%}{%- for part in message.content -%}{{ part.text }}{%- endfor -%}{%- endif -%}
{%- endfor -%}"""


def tokenizer(length: int = 48) -> PreTrainedTokenizerBase:
    """A token a byte; texts are cut, and where that is the family's way filled, to `length`."""
    vocab = {piece: index for index, piece in enumerate([*sorted(ByteLevel.alphabet()), *_SPECIAL])}
    made = Qwen2Tokenizer(
        vocab=vocab,
        merges=[],
        additional_special_tokens=list(_SPECIAL[1:]),
        model_max_length=length,
    )
    made.chat_template = _CHAT
    return made


def autoencoder(
    latent_channels: int = 4, kind: type = AutoencoderKL, **config: float
) -> torch.nn.Module:
    """The autoencoder of most families, that makes an eighth of each side."""
    made: torch.nn.Module = kind(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=latent_channels,
        norm_num_groups=4,
        layers_per_block=1,
        sample_size=64,
        **config,
    )
    return made


def _language(layers: int) -> dict[str, object]:
    """A language model's size. Weights are drawn wide, so that texts can be told apart."""
    return {
        "vocab_size": len(tokenizer()),
        "hidden_size": WIDTH,
        "intermediate_size": 24,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "initializer_range": 0.5,
    }


def _qwen3(kind: type, layers: int) -> torch.nn.Module:
    made: torch.nn.Module = kind(Qwen3Config(**_language(layers))).eval()
    return made


def _mistral(layers: int) -> torch.nn.Module:
    vision = PixtralVisionConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        image_size=32, patch_size=16, head_dim=8,
    )  # fmt: skip
    config = Mistral3Config(text_config=MistralConfig(**_language(layers)), vision_config=vision)
    return Mistral3ForConditionalGeneration(config).eval()


def _qwen_vl() -> torch.nn.Module:
    ids = {piece: tokenizer().convert_tokens_to_ids(piece) for piece in _SPECIAL}
    config = Qwen2_5_VLConfig(
        text_config=_language(2) | {"rope_parameters": _MROPE},
        vision_config={
            "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2,
            "out_hidden_size": WIDTH, "fullatt_block_indexes": [0], "initializer_range": 0.3,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )  # fmt: skip
    return Qwen2_5_VLForConditionalGeneration(config).eval()


_MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}


def heeding(transformer: torch.nn.Module) -> torch.nn.Module:
    """Scaled so that what an image makes of its text is not lost among what it makes of itself."""
    with torch.no_grad():
        for name, weight in transformer.named_parameters():
            if name.endswith(("add_v_proj.weight", "to_out.0.weight", "to_out.weight")):
                weight.mul_(8)
    return transformer


def _flux2_parts() -> dict[str, object]:
    """Transformer, autoencoder and noise scheduler of FLUX.2, whose text is three layers wide."""
    return {
        "transformer": heeding(
            Flux2Transformer2DModel(
                in_channels=16,
                num_layers=1,
                num_single_layers=1,
                attention_head_dim=16,
                num_attention_heads=2,
                joint_attention_dim=3 * WIDTH,
                timestep_guidance_channels=32,
                axes_dims_rope=(4, 4, 4, 4),
            )
        ),
        "vae": autoencoder(kind=AutoencoderKLFlux2),
        "scheduler": FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        "tokenizer": tokenizer(),
    }


def flux2() -> DiffusionPipeline:
    """FLUX.2-dev; its processor is a tokenizer alone, since only that is used."""
    return Flux2Pipeline(text_encoder=_mistral(30), **_flux2_parts())


def klein() -> DiffusionPipeline:
    """FLUX.2-klein, as it is before it is distilled: with true guidance."""
    return Flux2KleinPipeline(
        text_encoder=_qwen3(Qwen3ForCausalLM, 27), is_distilled=False, **_flux2_parts()
    )


def qwen() -> DiffusionPipeline:
    """Qwen-Image."""
    return QwenImagePipeline(
        transformer=heeding(
            QwenImageTransformer2DModel(
                in_channels=16,
                out_channels=4,
                num_layers=2,
                attention_head_dim=16,
                num_attention_heads=2,
                joint_attention_dim=WIDTH,
                axes_dims_rope=(4, 4, 8),
            )
        ),
        vae=AutoencoderKLQwenImage(
            base_dim=8,
            z_dim=4,
            dim_mult=[1, 1, 1, 1],
            num_res_blocks=1,
            temperal_downsample=[False, True, True],
            latents_mean=[0.1, -0.1, 0.2, 0.0],
            latents_std=[1.0, 1.5, 0.8, 1.2],
        ),
        text_encoder=_qwen_vl(),
        tokenizer=tokenizer(512),  # what is said around a prompt is some 200 bytes
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    )


def zimage() -> DiffusionPipeline:
    """Z-Image."""
    return ZImagePipeline(
        transformer=ZImageTransformer2DModel(
            in_channels=4,
            dim=32,
            n_layers=1,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=WIDTH,
            axes_dims=[4, 4, 8],
            axes_lens=[256, 32, 32],
        ),
        vae=autoencoder(shift_factor=0.06, scaling_factor=1.5),
        text_encoder=_qwen3(Qwen3Model, 3),
        tokenizer=tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


BUILDERS = {"flux2": flux2, "klein": klein, "qwen": qwen, "zimage": zimage}
