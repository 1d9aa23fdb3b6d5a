"""Prediction type and zero terminal SNR: from markers, metadata and entries to the scheduler."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
)
from safetensors.torch import load_file, save_file

from pipelines.core import Job
from pipelines.lanes.memory import Memory
from pipelines.models.checkpoint_keys import NoiseSettings, noise_settings
from pipelines.models.loader import Resident, load
from pipelines.models.noise_schedules import configure_noise
from pipelines.registry import ModelSpec
from pipelines.weights.manifest import WeightsError
from tests import tiny_checkpoints
from tests.conftest import entry
from tests.pipelines.conftest import Rig

MARK = torch.zeros(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoints.build_sdxl(tmp_path_factory.mktemp("noise") / "sdxl")


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    return tiny_checkpoints.sdxl(folder, folder.parent / "one.safetensors")


def marked(file: Path, tmp_path: Path, metadata: dict[str, str], *markers: str) -> Path:
    tensors = load_file(file) | {name: MARK.clone() for name in markers}
    save_file(tensors, tmp_path / "marked.safetensors", metadata)
    return tmp_path / "marked.safetensors"


def read(place: Path, **more: object) -> Resident:
    spec = ModelSpec.model_validate(entry("x") | more)
    return load(spec, place, "cpu", Memory(2**20))


def by_hand(model: Resident, folder: Path, job: Job, **scheduler: object) -> np.ndarray:
    """What diffusers makes of the same modules with a noise scheduler configured by hand."""
    kind = scheduler.pop("kind", EulerDiscreteScheduler)
    told = kind.load_config(folder, subfolder="scheduler")  # type: ignore[attr-defined]
    noise_scheduler = kind.from_config(told, **scheduler)  # type: ignore[attr-defined]
    pipe = type(model.pipe)(**model.pipe.components | {"scheduler": noise_scheduler})
    pipe.set_progress_bar_config(disable=True)
    image = pipe(
        job.prompt,
        width=job.width,
        height=job.height,
        num_inference_steps=job.steps,
        guidance_scale=job.guidance_scale,
        generator=torch.Generator("cpu").manual_seed(job.seed),
    ).images[0]
    return np.asarray(image).astype(int)


def image(model: Resident, job: Job) -> np.ndarray:
    rig = Rig({job.model: model})
    rig.run(job)
    return rig.pixels(job)


V = {"prediction_type": "v_prediction"}
ZERO = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}


@pytest.mark.parametrize(
    ("markers", "metadata", "said", "wanted"),
    [
        (["v_pred"], {}, {}, V),
        (["v_pred", "ztsnr"], {}, {}, V | ZERO),
        ([], {"modelspec.prediction_type": "v"}, {}, V),
        (["v_pred"], {"modelspec.prediction_type": "epsilon"}, {}, V),
        (["v_pred"], {}, {"prediction": "epsilon"}, {}),
        ([], {}, {"prediction": "v", "zero_terminal_snr": True}, V | ZERO),
        ([], {}, {"prediction": "flow"}, FLOW | {"kind": DPMSolverMultistepScheduler}),
    ],
)
def test_equals_diffusers_configured_by_hand(
    markers: list[str], metadata: dict[str, str], said: dict[str, object],
    wanted: dict[str, object], folder: Path, whole: Path, tmp_path: Path,
    jobs: Callable[[str], list[Job]],
) -> None:  # fmt: skip
    job = jobs("sdxl")[0]
    file = marked(whole, tmp_path, metadata, *markers)
    model = read(file, config=str(folder), **said)
    made = image(model, job)
    assert np.abs(made - by_hand(model, folder, job, **wanted)).max() <= 1
    if wanted:
        assert np.abs(made - by_hand(model, folder, job)).max() > 8, "else nothing was shown"


def test_an_entry_sets_a_folders_prediction(folder: Path, jobs: Callable[[str], list[Job]]) -> None:
    job = jobs("sdxl")[0]
    model = read(folder, prediction="v", zero_terminal_snr=True)
    assert np.abs(image(model, job) - by_hand(model, folder, job, **V, **ZERO)).max() <= 1


def test_zero_terminal_snr_without_v_is_refused(folder: Path, whole: Path, tmp_path: Path) -> None:
    file = marked(whole, tmp_path, {}, "ztsnr")
    with pytest.raises(WeightsError, match="set prediction: v"):
        read(file, config=str(folder))


class _Pipe:
    def __init__(self, scheduler: object) -> None:
        self.scheduler = scheduler

    def register_modules(self, scheduler: object) -> None:
        self.scheduler = scheduler


def test_a_noise_scheduler_that_cannot_end_in_noise_is_replaced() -> None:
    pipe = _Pipe(PNDMScheduler(beta_schedule="scaled_linear", beta_end=0.012, steps_offset=1))
    configure_noise(pipe, NoiseSettings(), NoiseSettings("v", True))
    assert isinstance(pipe.scheduler, DDIMScheduler)
    told = pipe.scheduler.config
    assert told["prediction_type"] == "v_prediction" and told["beta_end"] == 0.012
    assert pipe.scheduler.alphas_cumprod[-1] == 0


def test_a_flow_stays_one_whatever_a_trainers_metadata_says() -> None:
    pipe = _Pipe(before := FlowMatchEulerDiscreteScheduler(shift=3.0))
    configure_noise(pipe, NoiseSettings(), NoiseSettings("epsilon"))
    configure_noise(pipe, NoiseSettings("flow"), NoiseSettings())
    assert pipe.scheduler is before
    with pytest.raises(WeightsError, match="for flows"):
        configure_noise(pipe, NoiseSettings("v"), NoiseSettings())


@pytest.mark.parametrize(
    ("tensors", "zero"),
    [
        ({"alphas_cumprod": torch.linspace(0.999, 0.0047, 1000)}, None),
        ({"alphas_cumprod": torch.linspace(0.999, 0, 1000)}, True),
        ({"denoiser.sigmas": torch.linspace(0, 14.6, 1000)}, None),
        ({"denoiser.sigmas": torch.linspace(0, 4518, 1000)}, True),
    ],
)
def test_the_schedule_of_the_training_tells_how_it_ends(
    tensors: dict[str, torch.Tensor], zero: bool | None, tmp_path: Path
) -> None:
    save_file(tensors, tmp_path / "one.safetensors")
    assert noise_settings(tmp_path / "one.safetensors").zero_terminal_snr is zero
