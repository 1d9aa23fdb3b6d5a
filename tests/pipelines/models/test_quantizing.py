"""Weights in fewer bits: the images that diffusers makes of them, in the bytes that were told.

bitsandbytes computes on a CPU as well; it is diffusers that has it on GPUs alone, and these tests
set aside the check for one.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from diffusers import DiffusionPipeline
from diffusers.quantizers import PipelineQuantizationConfig
from diffusers.quantizers.bitsandbytes import bnb_quantizer

from pipelines.core import Job, Lora
from pipelines.lanes.memory import Memory
from pipelines.messages import Begin
from pipelines.models import quantizations
from pipelines.models.footprints import size_of
from pipelines.models.loader import Resident, load
from pipelines.models.loras import Loras
from pipelines.models.quantizing import config_for, weigh
from pipelines.models.residence import Residence
from pipelines.registry import ModelSpec, Registry, RegistryError
from pipelines.weights.manifest import WeightsError
from tests import tiny, tiny_files, tiny_loras
from tests.conftest import entry
from tests.pipelines.conftest import Rig

Jobs = Callable[[str], list[Job]]
KINDS = ("float8", "int8", "nf4")
LARGE = ("transformer", "text_encoder_2")


@pytest.fixture(autouse=True)
def bitsandbytes_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("BnB4BitDiffusersQuantizer", "BnB8BitDiffusersQuantizer"):
        quantizer = getattr(bnb_quantizer, kind)
        monkeypatch.setattr(quantizer, "validate_environment", lambda *_, **__: None)
        monkeypatch.setattr(quantizer, "update_device_map", lambda *_: {"": "cpu"})
    anywhere = {it: replace(how, cuda=False) for it, how in quantizations.QUANTIZATIONS.items()}
    monkeypatch.setattr(quantizations, "QUANTIZATIONS", anywhere)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build_wide(tmp_path_factory.mktemp("wide"))


def spec(**changes: object) -> ModelSpec:
    return ModelSpec.model_validate(entry("x") | changes)


def plain(folder: Path, kind: str, job: Job) -> np.ndarray:
    """What diffusers by itself makes of a text with weights so stored."""
    libraries = {"transformer": "diffusers", "text_encoder_2": "transformers"}
    how = {name: config_for(kind, library, torch.float32) for name, library in libraries.items()}
    pipe = DiffusionPipeline.from_pretrained(
        folder,
        dtype=torch.float32,
        quantization_config=PipelineQuantizationConfig(quant_mapping=how),
    )
    image = pipe(
        job.prompt,
        width=64,
        height=64,
        num_inference_steps=job.steps,
        guidance_scale=job.guidance_scale,
        max_sequence_length=32,
        generator=torch.Generator("cpu").manual_seed(job.seed),
    ).images[0]
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("kind", KINDS)
def test_images_are_those_of_diffusers_alone_and_in_company(
    kind: str, wide: Path, jobs: Jobs
) -> None:
    model = load(spec(quantization=kind), wide, "cpu", Memory(2**20))
    together, company = Rig({"wide": model}), jobs("wide")
    together.run(*company)
    if kind == "int8":
        assert max(together.passes) == 1 or not denoisers_met(model)
    else:
        assert max(together.passes) >= 3, "nothing was merged, so nothing was shown"
    for job in company:
        alone = Rig({"wide": model})
        alone.run(job)
        assert np.abs(together.pixels(job) - alone.pixels(job)).max() <= 1
    assert np.abs(together.pixels(company[0]) - plain(wide, kind, company[0])).max() <= 1


def denoisers_met(model: Resident) -> bool:
    joins = {type(it._module).__name__: it.join for it in model.meetings}
    return joins["FluxTransformer2DModel"].rows_of is not None


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_near_those_of_the_whole_weights(kind: str, wide: Path, jobs: Jobs) -> None:
    images = []
    for quantization in (kind, "none"):
        rig = Rig({"wide": load(spec(quantization=quantization), wide, "cpu", Memory(2**20))})
        rig.run(jobs("wide")[0])
        images.append(rig.pixels(jobs("wide")[0]))
    off = np.abs(images[0] - images[1]).mean()
    assert 0 < off < 12, off


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_predicted_is_what_comes(kind: str, wide: Path) -> None:
    residence = Residence(Begin("cpu", {"wide": (spec(quantization=kind), wide)}, [], 1))
    predicted = residence.footprint("wide")
    model = residence.load("wide", [], lambda fraction: None)
    assert model.parts.keys() == predicted.keys()
    whole = {name: weigh(it) for name, it in modules(load(spec(), wide, "cpu", Memory(0))).items()}
    now = {name: weigh(it) for name, it in modules(model).items()}
    bits = {"float8": 4, "int8": 4, "nf4": 7.1}[kind]
    assert whole["transformer"] / bits < now["transformer"] < whole["transformer"] / (0.8 * bits)
    assert {name for name in whole if now[name] < whole[name]} == set(LARGE)
    for name, size in predicted.items():
        assert size == pytest.approx(model.parts[name], rel=0.05), name


def modules(model: Resident) -> dict[str, torch.nn.Module]:
    found = model.pipe.components.items()
    return {name: it for name, it in found if isinstance(it, torch.nn.Module)}


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_family(family: str, tiny_registry: Registry, jobs: Jobs) -> None:
    small = {family: (spec(quantization="float8"), tiny_registry.path(family))}
    residence = Residence(Begin("cpu", small, [], 1))
    model = residence.load(family, [], lambda fraction: None)
    for name, size in residence.footprint(family).items():
        assert size == pytest.approx(model.parts[name], rel=0.05), name
    assert size_of(model.parts) < size_of(
        Residence(Begin("cpu", {family: (spec(), small[family][1])}, [], 1)).footprint(family)
    )
    together, company = Rig({family: model}), jobs(family)[:3]
    together.run(*company)
    assert max(together.passes) >= 2
    for job in company:
        alone = Rig({family: model})
        alone.run(job)
        assert np.abs(together.pixels(job) - alone.pixels(job)).max() <= 1


def test_whole_and_in_fewer_bits_are_not_taken_for_each_other(wide: Path, jobs: Jobs) -> None:
    both = {"whole": (spec(), wide), "small": (spec(quantization="float8"), wide)}
    residence = Residence(Begin("cpu", both, [], 1))
    whole, small = (residence.load(model, [], lambda fraction: None) for model in both)
    assert whole.pipe.vae is small.pipe.vae
    assert whole.pipe.text_encoder is small.pipe.text_encoder
    assert whole.pipe.transformer is not small.pipe.transformer
    names = [{it.name for it in model.meetings} for model in (whole, small)]
    assert len(names[0] - names[1]) == 5 and not names[1] & names[0]
    rig, job = Rig({"whole": whole, "small": small}), jobs("small")[0]
    rig.run(replace(job, model="whole", id="first"))
    rig.run(job)
    alone = Rig({"small": load(spec(quantization="float8"), wide, "cpu", Memory(2**20))})
    alone.run(job)
    assert np.abs(rig.pixels(job) - alone.pixels(job)).max() <= 1


@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_weights_that_were_stored_in_fewer_bits(
    kind: str, wide: Path, tmp_path: Path, jobs: Jobs
) -> None:
    load(spec(quantization=kind), wide, "cpu", Memory(0)).pipe.save_pretrained(tmp_path / "small")
    residence = Residence(Begin("cpu", {"wide": (spec(), tmp_path / "small")}, [], 1))
    model, company = residence.load("wide", [], lambda fraction: None), jobs("wide")[:2]
    for name, size in residence.footprint("wide").items():
        assert size == pytest.approx(model.parts[name], rel=0.05), name
    rig = Rig({"wide": model})
    rig.run(*company)
    assert denoisers_met(model) == (kind != "int8")
    assert np.abs(rig.pixels(company[0]) - plain(wide, kind, company[0])).max() <= 1


def test_beside_a_file_the_text_encoders_are_in_fewer_bits(
    wide: Path, tmp_path: Path, jobs: Jobs
) -> None:
    tiny_files.build_gguf(wide, tmp_path / "one.gguf")
    one = spec(quantization="float8", config=str(wide), source="one.gguf")
    residence = Residence(Begin("cpu", {"wide": (one, tmp_path / "one.gguf")}, [], 1))
    model = residence.load("wide", [], lambda fraction: None)
    assert model.parts.keys() == residence.footprint("wide").keys()
    assert kinds(model.pipe.text_encoder_2) >= {"Float8Tensor"}
    assert kinds(model.pipe.transformer) >= {"GGUFParameter"}
    rig = Rig({"wide": model})
    rig.run(*jobs("wide")[:2])
    assert all(rig.pixels(job).std() > 5 for job in jobs("wide")[:2])


def kinds(module: torch.nn.Module) -> set[str]:
    return {type(it).__name__ for it in module.parameters()}


def test_loras_lie_beside_weights_in_fewer_bits(wide: Path, tmp_path: Path, jobs: Jobs) -> None:
    with torch.enable_grad():
        for number in range(2):
            tiny_loras.build(wide, tmp_path / f"it{number}.safetensors", number)
    model = load(spec(quantization="float8"), wide, "cpu", Memory(2**20))
    model = replace(model, loras=Loras(tmp_path))
    first = jobs("wide")[0]
    company = [
        replace(first, id=f"{worn} {seed}", seed=seed, loras=tuple(map(Lora, worn)))
        for worn in ((), ("it0",), ("it1", "it0"))
        for seed in (1, 2)
    ]
    together = Rig({"wide": model})
    together.run(*company)
    for job in company:
        alone = Rig({"wide": model})
        alone.run(job)
        assert np.abs(together.pixels(job) - alone.pixels(job)).max() <= 1
    plain, worn = (together.pixels(job) for job in (company[0], company[2]))
    assert np.abs(plain - worn).max() > 8
    never = Rig({"wide": load(spec(quantization="float8"), wide, "cpu", Memory(2**20))})
    never.run(company[0])
    assert np.abs(never.pixels(company[0]) - plain).max() <= 1


def test_a_missing_package_is_named(wide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantizations, "find_spec", lambda package: None)
    assert quantizations.able() == frozenset()
    for kind, package in {"float8": "torchao", "nf4": "bitsandbytes"}.items():
        with pytest.raises(WeightsError, match=rf"{kind} needs {package}: pip install 'darkroom\["):
            load(spec(quantization=kind), wide, "cpu", Memory(0))


def test_what_diffusers_has_on_gpus_alone_is_refused_elsewhere(
    wide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    with pytest.raises(WeightsError, match="nf4 needs a CUDA device, and this is cpu"):
        load(spec(quantization="nf4"), wide, "cpu", Memory(0))
    assert quantizations.able("cpu") == {"float8"}
    assert quantizations.able("cuda:1") == set(KINDS)


def test_where_there_is_room_auto_leaves_the_weights_as_they_are(wide: Path) -> None:
    model = load(spec(quantization="auto"), wide, "cpu", Memory(0))
    assert weigh(model.pipe.transformer) == sum(
        it.nbytes for it in model.pipe.transformer.parameters()
    )


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"offload": "group"}, "what is streamed is not quantized"),
        ({"source": "x.safetensors", "config": "y"}, "quantizes folders, no single file"),
        ({"quantization": "nf3"}, "models.x.quantization"),
    ],
)
def test_what_cannot_be_is_said_at_start(
    wrong: dict[str, object], says: str, tmp_path: Path
) -> None:
    models = {"x": entry("x") | {"quantization": "nf4"} | wrong}
    (tmp_path / "weights.yaml").write_text(yaml.safe_dump({"models": models}))
    with pytest.raises(RegistryError, match=says):
        Registry(tmp_path / "weights.yaml", tmp_path)
