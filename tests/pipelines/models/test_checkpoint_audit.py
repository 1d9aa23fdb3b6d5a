"""Single files: every tensor is used, has no effect, or is refused by name; scales are applied."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from pipelines.core import Job, NonFinite
from pipelines.lanes.memory import Memory
from pipelines.models.checkpoint_audit import audit
from pipelines.models.checkpoint_keys import blocks_of, noise_settings
from pipelines.models.loader import Resident, load
from pipelines.models.single_files import read_weights
from pipelines.registry import ModelSpec, Registry
from pipelines.weights.manifest import WeightsError
from server.commands.cli import app
from tests import tiny_checkpoints, tiny_files
from tests.conftest import entry
from tests.pipelines.conftest import Rig
from tests.pipelines.models.test_single_files import narrow  # noqa: F401 - a fixture

Jobs = Callable[[str], list[Job]]


def read(file: Path, config: Path, **more: object) -> Resident:
    spec = ModelSpec.model_validate(entry("x") | {"config": str(config)} | more)
    return load(spec, file, "cpu", Memory(2**20))


def image(model: Resident, job: Job) -> np.ndarray:
    rig = Rig({job.model: model})
    rig.run(job)
    return rig.pixels(job)


def altered(file: Path, **tensors: torch.Tensor) -> Path:
    """The same file with more tensors (`__` in a name stands for a dot); None takes one away."""
    named = {name.replace("__", "."): it for name, it in tensors.items()}
    save_file(load_file(file) | {name: it.clone() for name, it in named.items()}, file)
    return file


@pytest.fixture(scope="module")
def checkpoints(tiny_registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    tiny_files.build_checkpoint(tiny_registry.path("sd"), folder / "sd.safetensors")
    for family in ("flux", "qwen"):
        place = tiny_registry.path(family)
        tiny_files.build_denoiser(place, folder / f"{family}.safetensors")
    tiny_checkpoints.flux(tiny_registry.path("flux"), folder / "bfl.safetensors")
    return folder


@pytest.fixture
def copy(checkpoints: Path, tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copy(checkpoints / f"{name}.safetensors", tmp_path))


@pytest.mark.parametrize(
    ("name", "family", "suffix", "rows"),
    [
        ("bfl", "flux", ".scale_weight", False),
        ("flux", "flux", ".weight_scale", False),
        ("qwen", "qwen", ".weight_scale", True),
        ("sd", "sd", ".scale_weight", False),
    ],
)
def test_scaled_float8_equals_the_weights_it_stands_for(
    name: str, family: str, suffix: str, rows: bool, copy: Callable[[str], Path], jobs: Jobs,
    tiny_registry: Registry, narrow: None,  # noqa: F811
) -> None:  # fmt: skip
    file, config, job = copy(name), tiny_registry.path(family), jobs(family)[0]
    layers = {"some.layer": {"format": "float8_e4m3fn"}}
    metadata = {"_quantization_metadata": json.dumps({"layers": layers})}
    plain = tiny_files.scale_to_float8(file, suffix, rows, **metadata)
    scaled, truth = image(read(file, config), job), image(read(plain, config), job)
    assert np.abs(scaled - truth).max() <= 1
    unscaled = {k: it for k, it in load_file(file).items() if not k.endswith(suffix)}
    save_file(unscaled, file)
    rig = Rig({job.model: read(file, config)})
    rig.run(job)
    overflows = isinstance(rig.outcomes[job.id], NonFinite)
    assert overflows or np.abs(rig.pixels(job) - truth).max() > 8, "else scales do not matter"


@pytest.mark.parametrize(
    ("weight", "scale", "blocks"),
    [
        ((8, 6), (), [8, 6]),
        ((8, 6), (1, 1), [8, 6]),
        ((8, 6), (8,), [1, 6]),
        ((8, 6), (8, 1), [1, 6]),
        ((8, 6), (4, 2), [2, 3]),
        ((8, 6, 3, 3), (8, 1, 1, 1), [1, 6, 3, 3]),
        ((8, 6), (3,), None),
        ((8, 6), (1, 2, 3), None),
        ((8, 6), (0,), None),
    ],
)
def test_a_scale_is_for_a_tensor_its_rows_or_its_blocks(
    weight: tuple[int, ...], scale: tuple[int, ...], blocks: list[int] | None, tmp_path: Path
) -> None:
    assert blocks_of(weight, scale) == blocks
    if blocks is None:
        return
    tensors = {"a.weight": torch.randn(weight), "a.weight_scale_inv": torch.rand(scale)}
    save_file(tensors, tmp_path / "one.safetensors")
    [given] = read_weights(tmp_path / "one.safetensors", ["a.weight"], torch.float32).values()
    wide = tensors["a.weight_scale_inv"].reshape(scale + (1,) * (len(weight) - len(scale)))
    for dimension, size in enumerate(blocks):
        if wide.ndim == len(weight) and wide.shape[dimension] > 1:
            wide = wide.repeat_interleave(size, dimension)
    assert torch.allclose(given, tensors["a.weight"] * wide)


FLOAT = torch.zeros(4)
JSON = torch.tensor(list(b'{"format": "int8_blockwise"}'), dtype=torch.uint8)
STRANGE = {
    "a tensor of no component": ({"lora_unet__x": FLOAT}, "lora_unet.x"),
    "one of a layer that is not there": (
        {"model__diffusion_model__label_emb__0__0__weight": FLOAT}, "label_emb",
    ),
    "one that the converter drops": (
        {"first_stage_model__decoder__mid__attn_9__q__weight": FLOAT}, "attn_9",
    ),
    "an unknown format": (
        {"model__diffusion_model__out__2__comfy_quant": JSON}, "int8_blockwise",
    ),
    "whole numbers": (
        {"model__diffusion_model__out__2__bias": torch.zeros(4, dtype=torch.int8)}, "whole numbers",
    ),
    "another shape": ({"model__diffusion_model__out__2__bias": torch.zeros(5)}, "shape"),
    "a scale of nothing": ({"a__weight_scale": FLOAT}, "a.weight, which is not there"),
    "a scale that does not fit": (
        {"model__diffusion_model__time_embed__0__weight_scale": torch.zeros(7)}, "does not fit",
    ),
    "a marker of another pipeline": ({"edm_mean": FLOAT}, "edm_mean needs"),
}  # fmt: skip


@pytest.mark.parametrize("kind", STRANGE)
def test_refuses_a_tensor_that_would_not_be_used_by_its_name(
    kind: str, copy: Callable[[str], Path], tiny_registry: Registry
) -> None:
    tensors, says = STRANGE[kind]
    with pytest.raises(WeightsError, match=says):
        read(altered(copy("sd"), **tensors), tiny_registry.path("sd"))


@pytest.mark.parametrize("kind", ["flux", "bfl", "qwen"])
@pytest.mark.parametrize("less", [True, False])
def test_refuses_a_denoiser_with_a_tensor_too_few_or_too_many(
    kind: str, less: bool, copy: Callable[[str], Path], tiny_registry: Registry,
    narrow: None,  # noqa: F811
) -> None:  # fmt: skip
    file = copy(kind)
    tensors = load_file(file)
    name = sorted(it for it in tensors if "block" in it and it.endswith("weight"))[0]
    if less:
        del tensors[name]
    else:
        name = name.replace(".weight", ".dora_scale")
        tensors[name] = FLOAT
    save_file(tensors, file)
    with pytest.raises(WeightsError) as raised:
        audit(file, tiny_registry.path("qwen" if kind == "qwen" else "flux"))
    assert less or name in str(raised.value)


def test_a_gguf_of_another_model_is_refused_by_name(
    tiny_registry: Registry, tmp_path: Path
) -> None:
    tiny_files.build_gguf(tiny_registry.path("flux"), tmp_path / "one.gguf")
    with pytest.raises(WeightsError, match="QwenImageTransformer2DModel"):
        audit(tmp_path / "one.gguf", tiny_registry.path("qwen"))


def test_accepts_what_has_no_effect(copy: Callable[[str], Path], tiny_registry: Registry) -> None:
    file = altered(
        copy("sd"),
        alphas_cumprod=torch.linspace(0.999, 0.0047, 1000),
        betas=FLOAT,
        model_ema__diffusion_modeloutbias=FLOAT,
        cond_stage_model__transformer__text_model__embeddings__position_ids=FLOAT,
        cond_stage_model__logit_scale=torch.tensor(1.0),
        cond_stage_model__transformer__text_projection__weight=FLOAT,
        first_stage_model__loss__logvar=FLOAT,
    )
    audit(file, tiny_registry.path("sd"))
    assert noise_settings(file).zero_terminal_snr is None


def test_z_image_as_comfyui_has_it_with_a_norm_that_no_denoiser_applies(
    tiny_registry: Registry, tmp_path: Path, jobs: Jobs, rig: Rig
) -> None:
    file, job = tmp_path / "one.safetensors", jobs("zimage")[0]
    tiny_checkpoints.zimage(tiny_registry.path("zimage"), file)
    rig.run(job)
    ours = image(read(file, tiny_registry.path("zimage")), job)
    assert np.abs(ours - rig.pixels(job)).max() <= 1


def test_import_refuses_what_loading_would(
    copy: Callable[[str], Path], tiny_registry: Registry, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    models = {"sd": entry(str(tiny_registry.path("sd")))}
    Path("weights.yaml").write_text(json.dumps({"models": models}))
    file = altered(copy("sd"), first_stage_model__decoder__mid__attn_9__q__weight=FLOAT)
    words = ("import", str(file), "--as", "mine", "--like", "sd", "--models-dir", "models")
    done = CliRunner().invoke(app, words, env={"COLUMNS": "300"})
    assert done.exit_code == 2
    assert "attn_9" in done.stderr
    assert not Path("models/mine").exists()


def test_a_denoiser_below_comfyuis_prefix_with_the_names_of_diffusers(
    copy: Callable[[str], Path], tiny_registry: Registry, jobs: Jobs
) -> None:
    file, job = copy("qwen"), jobs("qwen")[0]
    truth = image(read(file, tiny_registry.path("qwen")), job)
    save_file({f"model.diffusion_model.{k}": it for k, it in load_file(file).items()}, file)
    assert np.abs(image(read(file, tiny_registry.path("qwen")), job) - truth).max() <= 1


def test_a_projection_that_the_file_has_is_read(tmp_path: Path) -> None:
    folder = tiny_checkpoints.build_sd3(tmp_path / "sd3")
    file = tiny_checkpoints.sd3(folder, tmp_path / "one.safetensors")
    name = "text_encoders.clip_l.transformer.text_projection.weight"
    save_file(load_file(file) | {name: torch.eye(32) * 2}, file)
    encoder = read(file, folder).pipe.text_encoder
    assert torch.equal(encoder.text_projection.weight, torch.eye(32) * 2)
    pipe = DiffusionPipeline.from_pretrained(folder)
    assert torch.equal(pipe.text_encoder.text_projection.weight, torch.eye(32))
