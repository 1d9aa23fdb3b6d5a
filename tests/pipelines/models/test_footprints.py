"""The bytes of models, by the headers of their files."""

import shutil
from pathlib import Path

import pytest
import torch

from pipelines.core import Lora
from pipelines.lanes.memory import Memory
from pipelines.models.footprints import Parts, components_of, size_of
from pipelines.models.loader import Resident, load
from pipelines.models.loras import Loras
from pipelines.models.quantizing import weigh
from pipelines.registry import ModelSpec, Registry
from tests import tiny, tiny_loras


def footprint(spec: ModelSpec, place: Path) -> Parts:
    return {it.name: it.size for it in components_of(spec, place).values()}


def stored(module: torch.nn.Module) -> int:
    """The bytes of what a module has from its files; it may number positions on top of them."""
    return sum({it.data_ptr(): it.nbytes for it in module.state_dict().values()}.values())


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_what_is_predicted_is_what_comes(
    family: str, tiny_registry: Registry, residents: dict[str, Resident]
) -> None:
    found = components_of(tiny_registry.models[family], tiny_registry.path(family))
    pipe = residents[family].pipe
    modules = {name: getattr(pipe, name) for name in found}
    assert {name: it.size for name, it in found.items()} == {
        name: stored(module) for name, module in modules.items()
    }
    assert all(0 <= weigh(module) - stored(module) < 1024 for module in modules.values())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_conversions_are_counted(dtype: str, tiny_registry: Registry, tmp_path: Path) -> None:
    folder = tmp_path / "sdxl"
    shutil.copytree(tiny_registry.path("sdxl"), folder)
    config = folder / "vae" / "config.json"
    config.write_text(config.read_text().replace('"force_upcast": false', '"force_upcast": true'))
    spec = tiny_registry.models["sdxl"].model_copy(update={"dtype": dtype})
    found = components_of(spec, folder)
    pipe = load(spec, folder, "cpu", Memory(0)).pipe
    assert {name: it.size for name, it in found.items()} == {
        name: stored(getattr(pipe, name)) for name in found
    }


def test_an_autoencoder_is_shared_only_by_pipelines_that_convert_it_alike(
    tiny_registry: Registry, tmp_path: Path
) -> None:
    folder = tmp_path / "sdxl"
    shutil.copytree(tiny_registry.path("sdxl"), folder)
    config = folder / "vae" / "config.json"
    config.write_text(config.read_text().replace('"force_upcast": false', '"force_upcast": true'))
    spec = tiny_registry.models["sdxl"].model_copy(update={"dtype": "bfloat16"})
    converting = components_of(spec, folder)
    other = components_of(spec.model_copy(update={"pipeline": "PixArtSigmaPipeline"}), folder)
    different = {name for name, it in converting.items() if it.name != other[name].name}
    assert different == {"vae"}


def test_a_t5_in_float16_is_wider_in_part(tiny_registry: Registry) -> None:
    spec = tiny_registry.models["flux"].model_copy(update={"dtype": "float16"})
    place = tiny_registry.path("flux")
    found = components_of(spec, place)
    pipe = load(spec, place, "cpu", Memory(0)).pipe
    assert {name: it.size for name, it in found.items()} == {
        name: stored(getattr(pipe, name)) for name in found
    }


def test_equal_files_are_one_part_wherever_they_lie(
    tiny_registry: Registry, tmp_path: Path
) -> None:
    spec: ModelSpec = tiny_registry.models["flux"]
    shutil.copytree(tiny_registry.path("flux"), tmp_path / "copy")
    here, there = footprint(spec, tiny_registry.path("flux")), footprint(spec, tmp_path / "copy")
    assert here == there
    assert size_of(here, there) == size_of(here)
    other = footprint(spec.model_copy(update={"dtype": "bfloat16"}), tmp_path / "copy")
    assert not here.keys() & other.keys(), "another type is another tensor"
    with (tmp_path / "copy" / "vae" / "diffusion_pytorch_model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    changed = footprint(spec, tmp_path / "copy")
    assert [name.split("@")[0] for name in changed.keys() - here.keys()] == ["AutoencoderKL"]


def test_one_file(tiny_registry: Registry) -> None:
    file = tiny_registry.path("flux") / "transformer" / "diffusion_pytorch_model.safetensors"
    spec = tiny_registry.models["flux"]
    whole = components_of(spec, tiny_registry.path("flux"))["transformer"].size
    assert footprint(spec, file) == {str(file): whole}
    half = footprint(spec.model_copy(update={"dtype": "bfloat16"}), file)
    assert half == {str(file): whole // 2}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("layout", ["build", "build_kohya", "build_kohya_flux"])
def test_a_lora_takes_no_more_than_is_predicted(
    layout: str, dtype: str, tiny_registry: Registry, tmp_path: Path
) -> None:
    family = "flux" if layout == "build_kohya_flux" else "sd"
    with torch.enable_grad():
        getattr(tiny_loras, layout)(tiny_registry.path(family), tmp_path / "it.safetensors", 1)
    spec = tiny_registry.models[family].model_copy(update={"dtype": dtype})
    pipe = load(spec, tiny_registry.path(family), "cpu", Memory(0)).pipe
    modules = [it for it in pipe.components.values() if isinstance(it, torch.nn.Module)]
    plain = sum(map(weigh, modules))
    loras = Loras(tmp_path)
    most = size_of(loras.missing(pipe, [Lora("it")]))
    with loras.on(pipe, [Lora("it")]):
        assert loras.missing(pipe, [Lora("it")]) == {}
        assert loras.size == loras.held == sum(map(weigh, modules)) - plain > 0
    assert loras.size <= most and loras.held == 0
    loras.leave(pipe)
    assert loras.size == 0 and sum(map(weigh, modules)) == plain


def test_what_is_no_lora_is_told_by_who_reads_it(tiny_registry: Registry, tmp_path: Path) -> None:
    pipe = load(tiny_registry.models["sd"], tiny_registry.path("sd"), "cpu", Memory(0)).pipe
    (tmp_path / "nonsense.safetensors").write_bytes(b"nonsense")
    (tmp_path / "list.safetensors").write_bytes((2).to_bytes(8, "little") + b"[]")
    loras = Loras(tmp_path)
    for name in ("nonsense", "list", "absent"):
        assert loras.missing(pipe, [Lora(name)]) == {}
