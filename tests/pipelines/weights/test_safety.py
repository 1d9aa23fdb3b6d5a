"""What would run code, or read it, is refused wherever it is referred to."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.weights.manifest import WeightsError
from pipelines.weights.safety import (
    read_index,
    require_harmless,
    require_safetensors,
    require_unpickled,
)
from tests.pipelines.weights.conftest import Repository, tensors


@pytest.fixture
def folder(
    repository: Repository, needed: list[str], write: Callable[[Repository, str], Path]
) -> Path:
    return write({path: repository[path] for path in needed}, "tiny")


def change(file: Path, **keys: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | keys))


PARTS = "unet/diffusion_pytorch_model.safetensors.index.json"


@pytest.mark.parametrize(
    ("path", "keys", "says"),
    [
        ("model_index.json", {"_class_name": ["pipeline", "Mine"]}, "names no pipeline class"),
        ("model_index.json", {"custom_pipelines": "x/y"}, "custom_pipelines"),
        ("model_index.json", {"vae": ["diffusers", "AutoencoderKL"]}, "vae, which is not there"),
        ("unet/config.json", {"auto_map": {"AutoModel": "m.M"}}, "unet/config.json asks for code"),
        ("unet/config.json", {"trust_remote_code": True}, "trust_remote_code"),
        (PARTS, {"weight_map": {"a": "pytorch_model.bin"}}, "refers to pytorch_model.bin"),
        (PARTS, {"weight_map": {"a": "../x.safetensors"}}, "refers to ../x.safetensors"),
        (PARTS, {"weight_map": {"a": "gone.safetensors"}}, "gone.safetensors, which is not there"),
        (PARTS, {"weight_map": [1]}, "refers to None"),
    ],
)
def test_what_refers_to_code_or_pickles(
    folder: Path, path: str, keys: dict[str, object], says: str
) -> None:
    require_harmless(folder)
    change(folder / path, **keys)
    with pytest.raises(WeightsError, match=says):
        require_harmless(folder)


def test_a_component_that_is_code_beside_the_weights(folder: Path) -> None:
    change(folder / "model_index.json", unet=["my_unet", "UNet"])
    with pytest.raises(WeightsError, match="code that is not there: my_unet"):
        require_harmless(folder)
    (folder / "unet" / "my_unet.py").touch()
    with pytest.raises(WeightsError, match="my_unet.py"):
        require_harmless(folder)


@pytest.mark.parametrize("library", [".", "..", "stable_diffusion/../flux", ""])
def test_a_component_from_elsewhere_in_diffusers(folder: Path, library: str) -> None:
    change(folder / "model_index.json", unet=[library, "UNet"])
    with pytest.raises(WeightsError, match="code that is not there"):
        require_harmless(folder)


def test_a_component_of_a_pipeline_of_diffusers(folder: Path) -> None:
    change(folder / "model_index.json", unet=["stable_diffusion", "StableDiffusionSafetyChecker"])
    require_harmless(folder)


def test_no_pipeline(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is not a diffusers folder"):
        read_index(tmp_path)
    (tmp_path / "model_index.json").write_text("{")
    with pytest.raises(WeightsError, match="cannot be read as JSON"):
        read_index(tmp_path)


@pytest.mark.parametrize("name", ["a.bin", "a.ckpt", "a.pt", "a.pth", "a.pkl", "a.PT"])
def test_pickles_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(WeightsError, match="is pickled"):
        require_unpickled(tmp_path, [name])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04\x95pickle",
        b"\xff" * 100,
        tensors()[:-1],
        tensors() + b"PK\x03\x04",
        b"\x02\0\0\0\0\0\0\0[]",
        b'\x08\0\0\0\0\0\0\0{"a": 1}',
    ],
)
def test_what_is_called_safetensors_and_is_not(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(WeightsError, match=r"is not a safetensors file|is cut short"):
        require_safetensors(tmp_path / "a.safetensors")
