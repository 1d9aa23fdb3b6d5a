"""Loading: by the weights' own class, safetensors alone, and every meeting place in its place."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from pipelines.lanes.memory import Memory
from pipelines.models.loader import Resident, load
from pipelines.registry import ModelSpec, Registry
from pipelines.weights.manifest import WeightsError, make_manifest, write_manifest
from tests.conftest import entry
from tests.pipelines.conftest import Rig


def spec(**changes: object) -> ModelSpec:
    return ModelSpec.model_validate(entry("x") | changes)


def test_meetings_are_where_the_table_says(residents: dict[str, Resident]) -> None:
    found = {
        family: sorted(
            type(m._module).__name__ for m in resident.meetings if m.join.method != "encode"
        )
        for family, resident in residents.items()
    }
    text = ["CLIPTextModel", "CLIPTextModelWithProjection"]
    flux2 = ["AutoencoderKLFlux2", "Flux2Transformer2DModel"]
    assert found == {
        "sd": ["AutoencoderKL", "CLIPTextModel", "UNet2DConditionModel"],
        "sdxl": ["AutoencoderKL", *text, "UNet2DConditionModel"],
        "sd3": ["AutoencoderKL", text[1], text[1], "SD3Transformer2DModel", "T5EncoderModel"],
        "flux": ["AutoencoderKL", text[0], "FluxTransformer2DModel", "T5EncoderModel"],
        "flux2": [*flux2, "Mistral3ForConditionalGeneration"],
        "klein": [*flux2, "Qwen3ForCausalLM"],
        "qwen": [
            "AutoencoderKLQwenImage",
            "Qwen2_5_VLForConditionalGeneration",
            "QwenImageTransformer2DModel",
        ],
        "zimage": ["AutoencoderKL", "Qwen3Model", "ZImageTransformer2DModel"],
    }


def test_autoencoders_encode_where_calls_meet_too(residents: dict[str, Resident]) -> None:
    for family, resident in residents.items():
        autoencoder = [it for it in resident.meetings if it._module is resident.pipe.vae]
        both = {it.join.method: it.name for it in autoencoder}
        assert both.keys() == {"encode", "decode"}, family
        assert both["encode"] != both["decode"], "or their times would be taken for each other's"


@pytest.mark.parametrize("family", ["flux2", "klein", "qwen", "zimage"])
def test_what_a_language_model_answers_is_all_that_is_kept_of_it(
    family: str, residents: dict[str, Resident]
) -> None:
    encoder = residents[family].pipe.text_encoder
    answer = encoder.forward(input_ids=torch.tensor([[1, 2, 3]]), output_hidden_states=True)
    assert answer.get("past_key_values") is None


def test_pickled_weights_are_refused(tiny_registry: Registry, tmp_path: Path) -> None:
    folder = tmp_path / "flux"
    shutil.copytree(tiny_registry.path("flux"), folder)
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    torch.save({}, weights.with_suffix(".bin"))
    with pytest.raises(WeightsError, match="weights of vae are there in pickled form only"):
        load(spec(), folder, "cpu", Memory(0))


def test_code_beside_the_weights_is_never_run(tiny_registry: Registry, tmp_path: Path) -> None:
    folder = tmp_path / "flux"
    shutil.copytree(tiny_registry.path("flux"), folder)
    index = folder / "model_index.json"
    content = json.loads(index.read_text())
    content["_class_name"] = ["pipeline", "Planted"]
    index.write_text(json.dumps(content))
    (folder / "pipeline.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Planted: ...\n"
    )
    with pytest.raises(Exception):  # noqa: B017 - which one is diffusers' business
        load(spec(), folder, "cpu", Memory(0))
    assert not (tmp_path / "ran").exists()


def test_files_that_are_not_their_manifest_s_are_refused(
    tiny_registry: Registry, tmp_path: Path
) -> None:
    folder = tmp_path / "flux"
    shutil.copytree(tiny_registry.path("flux"), folder)
    write_manifest(folder, make_manifest(folder))
    load(spec(), folder, "cpu", Memory(0))
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(WeightsError, match="changed: vae/diffusion_pytorch_model.safetensors"):
        load(spec(), folder, "cpu", Memory(0))


def test_weights_that_are_named_by_a_variant(tiny_registry: Registry, tmp_path: Path) -> None:
    folder = tmp_path / "flux"
    shutil.copytree(tiny_registry.path("flux"), folder)
    for file in folder.glob("*/*.safetensors"):
        file.rename(file.with_suffix(".fp16.safetensors"))
    assert load(spec(), folder, "cpu", Memory(0)).pipe.transformer is not None


def test_a_named_pipeline_class_wins(tiny_registry: Registry) -> None:
    resident = load(spec(pipeline="FluxPipeline"), tiny_registry.path("flux"), "cpu", Memory(0))
    assert type(resident.pipe).__name__ == "FluxPipeline"


def test_an_autoencoder_that_overflows_in_float16_is_wide_for_all_lanes(
    tiny_registry: Registry, jobs
) -> None:
    half = load(spec(dtype="float16"), tiny_registry.path("sdxl"), "cpu", Memory(2**20))
    assert half.pipe.unet.dtype == torch.float16
    assert half.pipe.vae.dtype == torch.float32
    rig = Rig({"sdxl": half})
    company = jobs("sdxl")
    rig.run(*company)
    assert all(rig.pixels(job).std() > 5 for job in company)
    assert half.pipe.vae.dtype == torch.float32
