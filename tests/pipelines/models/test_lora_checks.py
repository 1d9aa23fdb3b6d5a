"""A LoRA is worn whole or refused, and the refusal says which of its layers, and why."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipelines.core import UnfitLora
from pipelines.models.loader import Resident
from pipelines.models.lora_checks import Likeness, check, likeness
from pipelines.models.loras import Loras
from pipelines.registry import Registry
from tests import tiny_loras

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def folder(tiny_registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loras")
    with torch.enable_grad():
        for family in ("sd", "flux"):
            place = tiny_registry.path(family)
            tiny_loras.build(place, folder / f"{family}.safetensors", 0, text=True)
        tiny_loras.build_kohya(tiny_registry.path("sd"), folder / "sd-k.safetensors", 1)
        tiny_loras.build_kohya_flux(tiny_registry.path("flux"), folder / "flux-k.safetensors", 2)
        tiny_loras.build(tiny_registry.path("qwen"), folder / "qwen.safetensors", 3)
        place = tiny_registry.path("flux")
        tiny_loras.build_flux_alphas(place, folder / "flux-alphas.safetensors", 4)
    return folder


@pytest.fixture
def looks(residents: dict[str, Resident]) -> Callable[[str], Likeness]:
    return lambda name: likeness(residents[name.partition("-")[0]].pipe)


@pytest.mark.parametrize("name", ["sd", "sd-k", "flux", "flux-k", "flux-alphas", "qwen"])
def test_a_plain_lora_reaches_the_layers_it_names(
    name: str, folder: Path, looks: Callable[[str], Likeness]
) -> None:
    found = check(looks(name), name, folder / f"{name}.safetensors")
    assert found.parameters
    layers = {it.partition(".lora_")[0] for it in found.parameters}
    assert len(found.parameters) == 2 * len(layers)
    if name == "flux-k":  # a layer of the file is three of the model's
        assert {it.rpartition(".")[2] for it in layers} >= {"to_q", "to_k", "to_v"}


def first(tensors: Tensors, part: str) -> str:
    return next(key for key in tensors if part in key)


def another_layer(tensors: Tensors) -> None:
    for key in list(tensors):
        if "attn1.to_q" in key or "transformer_blocks.0.attn.to_q" in key:
            for old, new in (("blocks.0.", "blocks.77."), ("blocks.1.", "blocks.77.")):
                key2 = key.replace(old, new)
                if key2 != key:
                    tensors[key2] = tensors[key].clone()


def dora(tensors: Tensors) -> None:
    key = first(tensors, "lora_down")
    tensors[key.replace("lora_down.weight", "dora_scale")] = torch.ones(32, 1)


def half(tensors: Tensors) -> None:
    del tensors[first(tensors, "lora_B")]


def text_encoder_2(tensors: Tensors) -> None:
    for side in "AB":
        tensors[f"text_encoder_2.encoder.q.lora_{side}.weight"] = torch.ones(4, 4)


def text_encoder_9(tensors: Tensors) -> None:
    tensors["text_encoder_9.q.lora_A.weight"] = torch.ones(4, 4)


def lone_alpha(tensors: Tensors) -> None:
    tensors["lora_unet_nowhere_at_all.alpha"] = torch.tensor(1.0)


def loha(tensors: Tensors) -> None:
    tensors["lora_unet_mid_block_attentions_0_proj_in.hada_w1_a"] = torch.ones(4, 4)


def difference(tensors: Tensors) -> None:
    tensors["lora_unet_mid_block_attentions_0_proj_in.diff_b"] = torch.ones(4)


def shape(tensors: Tensors) -> None:
    key = first(tensors, "attn.to_q.lora_A")
    tensors[key] = torch.ones(4, 77)


@pytest.mark.parametrize(
    ("name", "alter", "says"),
    [
        ("sd", another_layer, r"lacks layers of it: unet\..*blocks\.77\."),
        ("flux", another_layer, r"lacks layers of it: transformer\..*blocks\.77\."),
        ("sd-k", dora, r"DoRA.*: lora_\w+\.dora_scale"),
        ("sd", half, r"half of a layer is missing: \w+\.\S+\.lora_B\.weight"),
        ("flux", text_encoder_2, r"text_encoder_2 of FluxPipeline takes no LoRA: text_encoder_2\."),
        ("flux", text_encoder_9, r"has no text_encoder_9: text_encoder_9\.q"),
        ("sd-k", lone_alpha, r"does not know these names: lora_unet_nowhere_at_all\.alpha"),
        ("sd-k", difference, r"full differences of weights.*proj_in\.diff_b"),
        ("sd-k", loha, r"LoHa.*hada_w1_a"),
        ("flux", shape, r"32 features.*: transformer\.\w+\.0\.attn\.to_q"),
    ],
)
def test_refuses_what_would_not_be_worn_and_says_which(
    name: str, alter: Callable[[Tensors], None], says: str, folder: Path, tmp_path: Path,
    looks: Callable[[str], Likeness],
) -> None:  # fmt: skip
    tensors = load_file(folder / f"{name}.safetensors")
    alter(tensors)
    save_file(tensors, tmp_path / "bad.safetensors")
    with pytest.raises(UnfitLora) as raised:
        check(looks(name), "bad", tmp_path / "bad.safetensors")
    assert raised.value.name == "bad"
    assert re.search(says, raised.value.reason), raised.value.reason
    assert len(raised.value.reason) < 500


def test_each_layer_has_its_own_alpha_and_those_without_one_their_rank(
    folder: Path, tmp_path: Path, tiny_registry: Registry, residents: dict[str, Resident]
) -> None:
    tensors = load_file(folder / "sd-k.safetensors")
    alphas = [key for key in tensors if key.endswith("alpha") and key.startswith("lora_unet")]
    tensors[alphas[0]] = torch.tensor(7.0)
    del tensors[alphas[1]]
    save_file(tensors, tmp_path / "mixed.safetensors")
    pipe, loras = residents["sd"].pipe, Loras(tmp_path)
    name = loras._take(pipe, "mixed")
    try:
        found = [
            module.lora_alpha[name] / module.r[name]
            for module in pipe.unet.modules()
            if name in getattr(module, "lora_alpha", {})
        ]
        assert sorted(found) == [0.5] * (len(alphas) - 2) + [1.0, 7 / 4]
    finally:
        loras._kept[name].users = 0
        loras.shrink(0)


def test_zeros_for_layers_that_take_no_lora_have_no_effect(
    folder: Path, tmp_path: Path, looks: Callable[[str], Likeness]
) -> None:
    tensors = load_file(folder / "flux-k.safetensors")
    expected = check(looks("flux"), "it", folder / "flux-k.safetensors")
    tensors["lora_unet_double_blocks_0_img_attn_qkv.diff_b"] = torch.zeros(96)
    for side, shape in (("down", (4, 32)), ("up", (32, 4))):
        layer = "text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.k"
        tensors[f"{layer}.lora_{side}.weight"] = torch.zeros(shape)
    save_file(tensors, tmp_path / "it.safetensors")
    assert check(looks("flux"), "it", tmp_path / "it.safetensors") == expected


def test_wears_the_alphas_beside_the_layers_of_a_flux_lora(
    folder: Path, residents: dict[str, Resident]
) -> None:
    pipe, loras = residents["flux"].pipe, Loras(folder)
    name = loras._take(pipe, "flux-alphas")
    try:
        layers = [it for it in pipe.transformer.modules() if name in getattr(it, "lora_alpha", {})]
        assert layers
        assert all(layer.lora_alpha[name] == layer.r[name] / 2 for layer in layers)
    finally:
        loras._kept[name].users = 0
        loras.shrink(0)
