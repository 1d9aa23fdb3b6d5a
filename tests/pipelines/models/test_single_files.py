"""One file, and a folder for the rest: the same images as of the folder that it was made of."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import FunctionType

import numpy as np
import pytest
import torch
import yaml
from diffusers import StableDiffusionPipeline
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from safetensors.torch import load_file, save_file
from transformers import CLIPImageProcessorPil

from pipelines.core import Job
from pipelines.lanes.memory import Memory
from pipelines.messages import Begin
from pipelines.models.footprints import components_of
from pipelines.models.insides import is_whole
from pipelines.models.loader import Resident, load
from pipelines.models.residence import Residence
from pipelines.registry import ModelSpec, Registry, RegistryError
from pipelines.weights.importing import take_in
from pipelines.weights.manifest import WeightsError
from tests import tiny, tiny_checkpoints, tiny_files
from tests.conftest import entry
from tests.pipelines.conftest import Rig
from tests.tiny_judges import safety_checker

Jobs = Callable[[str], list[Job]]
Plain = Callable[[Job], np.ndarray]
Read = Callable[..., Resident]


@pytest.fixture
def read(tiny_registry: Registry, tmp_path: Path) -> Read:
    """Load a file through a weights.yaml whose entry names another model for the rest."""

    def read(file: Path, config: str, **more: object) -> Resident:
        base = entry(str(tiny_registry.path(config)))
        models = {config: base, "one": entry(str(file)) | {"config": config, **more}}
        weights = tmp_path / "weights.yaml"
        weights.write_text(yaml.safe_dump({"models": models}))
        registry = Registry(weights, tmp_path)
        assert registry.installed("one")
        assert registry.size("one") == file.stat().st_size
        return load(registry.models["one"], registry.path("one"), "cpu", Memory(2**20))

    return read


def assert_same(model: Resident, family: str, jobs: Jobs, plain: Plain) -> None:
    rig, company = Rig({family: model}), jobs(family)
    rig.run(*company)
    assert max(rig.passes) >= 2
    for job in company:
        assert np.abs(rig.pixels(job) - plain(job)).max() <= 1


def test_a_whole_checkpoint(
    read: Read, tiny_registry: Registry, tmp_path: Path, jobs: Jobs, plain: Plain
) -> None:
    file = tiny_files.build_checkpoint(tiny_registry.path("sd"), tmp_path / "one.safetensors")
    assert_same(read(file, "sd"), "sd", jobs, plain)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers knows one width of FLUX.1's blocks, 3072: here it is that of the tiny one."""
    known = SINGLE_FILE_LOADABLE_CLASSES["FluxTransformer2DModel"]
    convert = known["checkpoint_mapping_fn"]
    code = convert.__code__
    constants = tuple(32 if it == 3072 else it for it in code.co_consts)
    assert constants != code.co_consts
    tiny_one = FunctionType(code.replace(co_consts=constants), convert.__globals__)
    monkeypatch.setitem(known, "checkpoint_mapping_fn", tiny_one)


def test_a_whole_sdxl(tmp_path: Path, jobs: Jobs) -> None:
    folder = tiny_checkpoints.build_sdxl(tmp_path / "sdxl")
    file = tiny_checkpoints.sdxl(folder, tmp_path / "one.safetensors")
    assert_like_its_folder(file, folder, jobs("sdxl"))


def test_a_whole_sd3(tmp_path: Path, jobs: Jobs) -> None:
    folder = tiny_checkpoints.build_sd3(tmp_path / "sd3")
    file = tiny_checkpoints.sd3(folder, tmp_path / "one.safetensors")
    assert_like_its_folder(file, folder, jobs("sd3"))


@pytest.mark.parametrize("whole", [False, True])
def test_flux_by_its_first_names(
    whole: bool, narrow: None, tiny_registry: Registry, tmp_path: Path, jobs: Jobs
) -> None:
    folder = tiny_registry.path("flux")
    file = tiny_checkpoints.flux(folder, tmp_path / "one.safetensors", whole)
    assert_like_its_folder(file, folder, jobs("flux"))


def assert_like_its_folder(file: Path, folder: Path, jobs: list[Job]) -> None:
    """Nothing but configurations is left of the folder where the file has all weights."""
    truth = Rig({jobs[0].model: load(spec(), folder, "cpu", Memory(2**20))})
    truth.run(*jobs)
    config = file.parent / "config"
    shutil.copytree(folder, config)
    if is_whole(file):
        for weights in config.rglob("*.safetensors"):
            weights.unlink()
    model = load(spec(config=str(config)), file, "cpu", Memory(2**20))
    rig = Rig({jobs[0].model: model})
    rig.run(*jobs)
    assert max(rig.passes) >= 2
    for job in jobs:
        assert np.abs(rig.pixels(job) - truth.pixels(job)).max() <= 1


def spec(**changes: object) -> ModelSpec:
    return ModelSpec.model_validate(entry("x") | changes)


def test_a_whole_checkpoint_needs_no_other_weights(
    tiny_registry: Registry, tmp_path: Path, jobs: Jobs, plain: Plain
) -> None:
    file = tiny_files.build_checkpoint(tiny_registry.path("sd"), tmp_path / "one.safetensors")
    bare = shutil.copytree(tiny_registry.path("sd"), tmp_path / "bare")
    for weights in bare.rglob("*.safetensors"):
        weights.unlink()
    (tmp_path / "weights.yaml").write_text(
        yaml.safe_dump({"models": {"one": entry("one.safetensors") | {"config": "bare"}}})
    )
    registry = Registry(tmp_path / "weights.yaml", tmp_path)
    assert registry.path("one") == file
    assert_same(load(registry.models["one"], file, "cpu", Memory(2**20)), "sd", jobs, plain)


def test_one_that_was_imported_like_another(
    tiny_registry: Registry, tmp_path: Path, jobs: Jobs, plain: Plain
) -> None:
    file = tiny_files.build_checkpoint(tiny_registry.path("sd"), tmp_path / "mine.safetensors")
    weights = tmp_path / "weights.yaml"
    weights.write_text(yaml.safe_dump({"models": {"sd": entry(str(tiny_registry.path("sd")))}}))
    take_in(file, tmp_path / "models", "mine", like="sd")
    registry = Registry(weights, tmp_path / "models")
    assert registry.resolve("mine") == "mine"
    model = load(registry.models["mine"], registry.path("mine"), "cpu", Memory(2**20))
    assert_same(model, "sd", jobs, plain)


@pytest.mark.parametrize("family", tiny.FIRST)
def test_a_denoiser_alone(
    family: str, read: Read, tiny_registry: Registry, tmp_path: Path, jobs: Jobs, plain: Plain
) -> None:
    place = tiny_registry.path(family)
    file = tiny_files.build_denoiser(place, tmp_path / "one.safetensors")
    assert_same(read(file, family), family, jobs, plain)
    blank = {name: torch.zeros_like(it) for name, it in load_file(file).items()}
    save_file(blank, file)
    rig, job = Rig({family: read(file, family)}), jobs(family)[0]
    rig.run(job)
    assert np.abs(rig.pixels(job) - plain(job)).max() > 8, "it is the file's denoiser"


def test_a_gguf(
    read: Read, tiny_registry: Registry, residents: dict[str, Resident], tmp_path: Path, jobs: Jobs,
    plain: Plain,
) -> None:  # fmt: skip
    become = tiny_files.build_gguf(tiny_registry.path("flux"), tmp_path / "one.gguf")
    model = read(tmp_path / "one.gguf", "flux")
    assert any(it.dtype == torch.uint8 for it in model.pipe.transformer.state_dict().values())
    transformer = residents["flux"].pipe.transformer
    before = {name: it.clone() for name, it in transformer.state_dict().items()}
    transformer.load_state_dict(become)
    try:
        assert_same(model, "flux", jobs, plain)
    finally:
        transformer.load_state_dict(before)


def test_what_it_takes_and_what_it_shares(tiny_registry: Registry, tmp_path: Path) -> None:
    file = tiny_files.build_denoiser(tiny_registry.path("flux"), tmp_path / "one.safetensors")
    base = tiny_registry.models["flux"], tiny_registry.path("flux")
    spec = base[0].model_copy(update={"config": str(base[1])})
    residence = Residence(Begin("cpu", {"flux": base, "one": (spec, file)}, [], 1))
    flux = residence.load("flux", [], lambda fraction: None)
    one = residence.load("one", [], lambda fraction: None)
    assert one.pipe.text_encoder is flux.pipe.text_encoder
    assert one.pipe.transformer is not flux.pipe.transformer
    assert residence.footprint("one").keys() == one.parts.keys()
    assert len(one.parts.keys() - flux.parts.keys()) == 1


@pytest.mark.parametrize("order", [["one"], ["one", "flux"], ["flux", "one"]])
def test_what_a_whole_checkpoint_lacks_counts_and_is_shared(
    order: list[str], narrow: None, tiny_registry: Registry, tmp_path: Path, jobs: Jobs,
    plain: Plain,
) -> None:  # fmt: skip
    base = tiny_registry.models["flux"], tiny_registry.path("flux")
    file = tiny_checkpoints.flux(base[1], tmp_path / "one.safetensors", whole=True)
    without(file, "t5xxl")
    one = spec(config=str(base[1])), file
    residence = Residence(Begin("cpu", {"flux": base, "one": one}, [], 1))
    resident = {id: residence.load(id, [], lambda fraction: None) for id in order}
    lacking = resident["one"]
    predicted, measured = residence.footprint("one"), lacking.parts
    assert abs(sum(predicted.values()) - sum(measured.values())) < 2048
    if "flux" in order:
        flux = resident["flux"]
        assert lacking.pipe.text_encoder_2 is flux.pipe.text_encoder_2
        assert lacking.pipe.text_encoder is not flux.pipe.text_encoder
        assert len(predicted.keys() & flux.parts.keys()) == 1
    rig, job = Rig({"flux": lacking}), jobs("flux")[0]
    rig.run(job)
    assert np.abs(rig.pixels(job) - plain(job)).max() <= 1


def without(file: Path, *marks: str) -> None:
    """Write a file anew without the tensors whose names have one of these in them."""
    left = {k: it for k, it in load_file(file).items() if not any(mark in k for mark in marks)}
    save_file(left, file)


@pytest.mark.parametrize("lacks", ["t5xxl", "text_encoders"])
def test_an_sd3_as_it_is_mostly_offered(lacks: str, tmp_path: Path, jobs: Jobs) -> None:
    folder = tiny_checkpoints.build_sd3(tmp_path / "sd3")
    file = tiny_checkpoints.sd3(folder, tmp_path / "one.safetensors")
    without(file, lacks)
    truth = Rig({"sd3": load(spec(), folder, "cpu", Memory(2**20))})
    rig = Rig({"sd3": load(spec(config=str(folder)), file, "cpu", Memory(2**20))})
    job = jobs("sd3")[0]
    for each in (truth, rig):
        each.run(job)
    assert np.abs(rig.pixels(job) - truth.pixels(job)).max() <= 1


def test_two_models_of_one_checkpoint_have_its_weights_in_memory_once(
    tiny_registry: Registry, tmp_path: Path
) -> None:
    config = tiny_registry.path("sd")
    file = tiny_files.build_checkpoint(config, tmp_path / "one.safetensors")
    one, other = spec(config=str(config)), spec(config=str(config), memory=2.0)
    narrow = spec(config=str(config), dtype="bfloat16")
    models = {"one": (one, file), "other": (other, file), "narrow": (narrow, file)}
    residence = Residence(Begin("cpu", models, [], 1))
    loaded = {id: residence.load(id, [], lambda fraction: None) for id in models}
    for name in ("unet", "vae", "text_encoder"):
        module = loaded["one"].pipe.components[name]
        assert loaded["other"].pipe.components[name] is module
        assert loaded["narrow"].pipe.components[name] is not module
    predicted, measured = residence.footprint("other"), loaded["other"].parts
    assert measured.keys() == predicted.keys() == loaded["one"].parts.keys()
    assert all(abs(measured[part] - size) < 2048 for part, size in predicted.items())
    assert measured.keys().isdisjoint(loaded["narrow"].parts)


@pytest.mark.parametrize("whole", [True, False])
def test_a_file_is_known_by_its_content(
    whole: bool, tiny_registry: Registry, tmp_path: Path
) -> None:
    """Not by where it lies: as a folder is."""
    config = shutil.copytree(tiny_registry.path("sd"), tmp_path / "config")
    build = tiny_files.build_checkpoint if whole else tiny_files.build_denoiser
    file = build(config, tmp_path / "one.safetensors")
    ids = ("one", "copy", "edited", "replaced", "again")
    (tmp_path / "elsewhere").mkdir()
    copy = shutil.copy(file, tmp_path / "elsewhere")
    models = {id: (spec(config=str(config)), file) for id in ids} | {
        "copy": (spec(config=str(config)), Path(copy))
    }
    residence = Residence(Begin("cpu", models, [], 1))

    def unet(id: str) -> torch.nn.Module:
        resident.append(residence.load(id, [], lambda fraction: None))
        return resident[-1].pipe.unet

    resident: list[Resident] = []
    first = unet("one")
    assert unet("copy") is first
    told = config / "unet" / "config.json"
    told.write_text(json.dumps(json.loads(told.read_text()) | {"sample_size": 99}))
    edited = unet("edited")
    assert edited is not first and edited.config["sample_size"] == 99
    save_file({k: it * 1.01 for k, it in load_file(file).items()}, tmp_path / "new")
    (tmp_path / "new").replace(file)
    replaced = unet("replaced")
    assert replaced is not edited and not torch.equal(replaced.conv_in.bias, edited.conv_in.bias)
    assert unet("again") is replaced


@pytest.mark.parametrize("way", ["text", "group"])
def test_a_whole_checkpoint_is_streamed(
    way: str, tiny_registry: Registry, tmp_path: Path, jobs: Jobs, plain: Plain
) -> None:
    config = str(tiny_registry.path("sd"))
    file = tiny_files.build_checkpoint(tiny_registry.path("sd"), tmp_path / "one.safetensors")
    models = {it: (spec(config=config, offload=it), file) for it in ("none", way)}
    residence = Residence(Begin("cpu", models, [], 1))
    assert_same(residence.load(way, [], lambda fraction: None), "sd", jobs, plain)
    streamed = {name for name in residence.footprint(way) if name.endswith(", streamed")}
    assert len(streamed) == {"text": 1, "group": 2}[way]
    assert streamed.isdisjoint(residence.footprint("none"))


def test_what_a_whole_checkpoint_lacks_is_not_quantized(
    narrow: None, tiny_registry: Registry, tmp_path: Path
) -> None:
    """diffusers quantizes folders alone."""
    folder = tiny_registry.path("flux")
    file = tiny_checkpoints.flux(folder, tmp_path / "one.safetensors", whole=True)
    without(file, "t5xxl")
    assert components_of(spec(), folder)["text_encoder_2"].quantized
    lacking = components_of(spec(config=str(folder)), file)["text_encoder_2"]
    assert lacking.quantized == {}


@pytest.mark.parametrize("order", [["one"], ["sd", "one"]])
def test_a_whole_checkpoint_takes_no_safety_checker_from_the_rest(
    order: list[str], tiny_registry: Registry, tmp_path: Path
) -> None:
    """Or it would be judged or not by what was loaded before it."""
    colours = torch.eye(3).view(3, 3, 1, 1).expand(3, 3, 64, 64)
    checker = safety_checker(tmp_path / "checker", colours[0], colours[1])
    base = tmp_path / "sd"
    StableDiffusionPipeline.from_pretrained(
        tiny_registry.path("sd"),
        safety_checker=StableDiffusionSafetyChecker.from_pretrained(checker),
        feature_extractor=CLIPImageProcessorPil.from_pretrained(checker),
    ).save_pretrained(base)
    file = tiny_files.build_checkpoint(tiny_registry.path("sd"), tmp_path / "one.safetensors")
    models = {"sd": (spec(), base), "one": (spec(config=str(base)), file)}
    residence = Residence(Begin("cpu", models, [], 1))
    resident = {id: residence.load(id, [], lambda fraction: None) for id in order}
    assert "sd" not in order or resident["sd"].guard is not None
    assert resident["one"].guard is None
    predicted, measured = residence.footprint("one"), resident["one"].parts
    assert abs(sum(predicted.values()) - sum(measured.values())) < 2048


def test_what_comes_to_the_rest_later_counts(tiny_registry: Registry, tmp_path: Path) -> None:
    file = tiny_files.build_denoiser(tiny_registry.path("flux"), tmp_path / "one.safetensors")
    config = shutil.copytree(tiny_registry.path("flux"), tmp_path / "config")
    weights = config / "vae" / "diffusion_pytorch_model.safetensors"
    away = weights.rename(tmp_path / "away")
    residence = Residence(Begin("cpu", {"one": (spec(config=str(config)), file)}, [], 1))
    before = residence.footprint("one")
    away.rename(weights)
    assert len(residence.footprint("one")) == len(before) + 1


def test_like_names_the_rest_too(tiny_registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "mine.gguf").touch()
    models = {
        "flux": entry(str(tiny_registry.path("flux"))),
        "mine": {"like": "flux", "source": "mine.gguf"},
        "child": {"like": "mine", "source": "mine.gguf"},
        "absent": entry("hub:o/absent"),
        "early": entry("mine.gguf") | {"config": "absent"},
    }
    (tmp_path / "weights.yaml").write_text(yaml.safe_dump({"models": models}))
    registry = Registry(tmp_path / "weights.yaml", tmp_path)
    for id in ("mine", "child"):
        assert registry.models[id].config == str(tiny_registry.path("flux"))
        assert registry.installed(id)
    assert not registry.installed("early"), "what is not in the file is not here"


@pytest.mark.parametrize(
    ("config", "says"), [(None, "Field required"), ("x", "is its own"), ("y", "is its own")]
)
def test_a_file_needs_to_be_told_of_the_rest(tmp_path: Path, config: str | None, says: str) -> None:
    more = {} if config is None else {"config": config}
    models = {"x": entry("a.gguf") | more, "y": entry("b.gguf") | {"config": "x"}}
    (tmp_path / "weights.yaml").write_text(yaml.safe_dump({"models": models}))
    with pytest.raises(RegistryError, match=rf"models\.[xy]\.config: {says}"):
        Registry(tmp_path / "weights.yaml", tmp_path)


@pytest.mark.parametrize("name", ["one.ckpt", "one.safetensors", "one.gguf"])
def test_what_is_not_what_its_name_says_is_refused(
    tiny_registry: Registry, tmp_path: Path, name: str
) -> None:
    torch.save({}, tmp_path / name)
    spec = tiny_registry.models["flux"]
    spec = spec.model_copy(update={"config": str(tiny_registry.path("flux"))})
    with pytest.raises((WeightsError, ValueError)):
        load(spec, tmp_path / name, "cpu", Memory(0))


def test_pickles_beside_the_rest_are_refused(tiny_registry: Registry, tmp_path: Path) -> None:
    file = tiny_files.build_checkpoint(tiny_registry.path("sd"), tmp_path / "one.safetensors")
    bare = shutil.copytree(tiny_registry.path("sd"), tmp_path / "bare")
    torch.save({}, bare / "text_encoder" / "pytorch_model.bin")
    spec = tiny_registry.models["sd"].model_copy(update={"config": str(bare)})
    with pytest.raises(WeightsError, match="pickled"):
        load(spec, file, "cpu", Memory(0))
