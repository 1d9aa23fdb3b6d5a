"""LoRAs: every job has its own, in whatever company, and a model that had them is the plain one."""

import gc
import shutil
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import init_empty_weights
from diffusers import DiffusionPipeline, FluxPipeline
from safetensors.torch import load_file, save_file

from pipelines.core import Job, Lora, ModelUnavailable, UnfitLora
from pipelines.lanes.memory import Memory
from pipelines.lanes.rendezvous import rendezvous_at
from pipelines.models import lora_checks
from pipelines.models.loader import Resident, load
from pipelines.models.loras import Loras
from pipelines.registry import Registry
from pipelines.tasks.arguments import guidance, parameters, text_length
from pipelines.weights.lora_manifests import require_trusted_lora, take_in_lora
from tests import tiny, tiny_loras
from tests.pipelines.conftest import Rig
from tests.support.devices import DEVICE

Jobs = Callable[[str], list[Job]]
WITH_TEXT = tiny.FIRST
"""Families in which diffusers takes a LoRA for a text encoder as well."""


@pytest.fixture(scope="module")
def folder(tiny_registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two LoRAs for each family, one of which is for its text encoder too."""
    folder = tmp_path_factory.mktemp("loras")
    with torch.enable_grad():
        for number, family in enumerate(tiny.FAMILIES):
            place, text = tiny_registry.path(family), family in WITH_TEXT
            tiny_loras.build(place, folder / f"{family}-a.safetensors", number, text)
            tiny_loras.build(place, folder / f"{family}-b.safetensors", 100 + number)
        tiny_loras.build_kohya(tiny_registry.path("sd"), folder / "sd-k.safetensors", 200)
        tiny_loras.build_kohya_flux(tiny_registry.path("flux"), folder / "flux-k.safetensors", 201)
    return folder


@pytest.fixture
def loras(folder: Path) -> Loras:
    return Loras(folder)


@pytest.fixture
def resident(tiny_registry: Registry, loras: Loras) -> Callable[[str], Resident]:
    def fresh(family: str) -> Resident:
        spec, place = tiny_registry.models[family], tiny_registry.path(family)
        return replace(load(spec, place, DEVICE, Memory(2**20)), loras=loras)

    return fresh


def alone(registry: Registry, folder: Path, job: Job) -> np.ndarray:
    """What a pipeline that never had another LoRA makes of a text-to-image job."""
    pipe = DiffusionPipeline.from_pretrained(registry.path(job.model))
    pipe.set_progress_bar_config(disable=True)
    for lora in job.loras:
        pipe.load_lora_weights(folder / f"{lora.name}.safetensors", adapter_name=lora.name)
    if job.loras:
        pipe.set_adapters([it.name for it in job.loras], [it.scale for it in job.loras])
    arguments = {
        "prompt": job.prompt,
        "width": job.width,
        "height": job.height,
        "num_inference_steps": job.steps,
        "generator": torch.Generator("cpu").manual_seed(job.seed),
        "output_type": "pil",
        **guidance(pipe, job),
        **text_length(pipe),
    }
    known = {name: value for name, value in arguments.items() if name in parameters(pipe)}
    return np.asarray(pipe(**known).images[0]).astype(int)


def company(job: Job) -> list[Job]:
    """Jobs with other LoRAs, or none, two of each kind."""
    a, b = Lora(f"{job.model}-a"), Lora(f"{job.model}-b", 0.5)
    kinds = {"plain": (), "a": (a,), "weak": (replace(a, scale=0.3),), "b": (b,), "both": (b, a)}
    return [
        replace(job, id=f"{kind}-{seed}", loras=worn, seed=seed)
        for seed in (1, 2)
        for kind, worn in kinds.items()
    ]


def denoising(model: Resident) -> list[None]:
    """Grows by one with every pass of a model's denoiser."""
    module = getattr(model.pipe, "transformer", None) or model.pipe.unet
    meeting = rendezvous_at(module)
    assert meeting is not None
    method, passes = meeting._method, []

    def counted(*args: object, **kwargs: object) -> object:
        passes.append(None)
        return method(*args, **kwargs)

    meeting._method = counted
    return passes


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_each_has_its_own_in_company(
    family: str, resident: Callable[[str], Resident], tiny_registry: Registry, folder: Path,
    jobs: Jobs,
) -> None:  # fmt: skip
    model = resident(family)
    rig, passes = Rig({family: model}), denoising(model)
    them = company(jobs(family)[0])
    rig.run(*(job for job in them if not job.loras))
    of_one_kind = len(passes)
    rig.outcomes.clear()
    rig.run(*them)
    assert len(passes) == 6 * of_one_kind, "those of equal LoRAs meet, and no others"
    truth = {job.id: alone(tiny_registry, folder, job) for job in them}
    for job in them:
        assert np.abs(rig.pixels(job) - truth[job.id]).max() <= 1, job.id
    seen = [truth[job.id] for job in them[:5]]
    for i, image in enumerate(seen):
        for other in seen[:i]:
            assert np.abs(image - other).max() > 4, "else nothing was shown"


@pytest.mark.parametrize("family", ["sd", "flux"])
def test_the_format_of_most_trainers(
    family: str, resident: Callable[[str], Resident], tiny_registry: Registry, folder: Path,
    jobs: Jobs,
) -> None:  # fmt: skip
    rig = Rig({family: resident(family)})
    plain, worn = jobs(family)[0], replace(jobs(family)[1], loras=(Lora(f"{family}-k", 0.8),))
    rig.run(plain, worn)
    for job in (plain, worn):
        assert np.abs(rig.pixels(job) - alone(tiny_registry, folder, job)).max() <= 1
    without = alone(tiny_registry, folder, replace(worn, loras=()))
    assert np.abs(rig.pixels(worn) - without).max() > 8


@pytest.mark.parametrize("family", tiny.FIRST)
def test_where_loras_were_the_model_is_the_plain_one_to_the_bit(
    family: str, resident: Callable[[str], Resident], jobs: Jobs
) -> None:
    job, model = jobs(family)[0], resident(family)
    plain, rig = Rig({family: model}), Rig({family: model})
    plain.run(job)
    rig.run(replace(job, id="first", loras=(Lora(f"{family}-a"),)))
    rig.run(job)
    assert (rig.pixels(job) == plain.pixels(job)).all()
    assert (rig.pixels(job) != rig.pixels(replace(job, id="first"))).any()


def test_a_text_encoder_s_answer_is_remembered_with_what_it_wore(
    resident: Callable[[str], Resident], tiny_registry: Registry, folder: Path, jobs: Jobs
) -> None:
    rig, job = Rig({"flux": resident("flux")}), jobs("flux")[0]
    for id, worn in (("1", ()), ("2", (Lora("flux-a"),)), ("3", ())):
        now = replace(job, id=id, loras=worn)
        rig.run(now)
        assert np.abs(rig.pixels(now) - alone(tiny_registry, folder, now)).max() <= 1


def test_other_tasks_wear_them_too(resident: Callable[[str], Resident], jobs: Jobs) -> None:
    rig, job = Rig({"sd": resident("sd")}), jobs("sd")[4]
    assert job.task == "img2img"
    rig.run(job, replace(job, id="worn", loras=(Lora("sd-a"),)))
    assert np.abs(rig.pixels(job) - rig.pixels(replace(job, id="worn"))).max() > 8


def sizes(folder: Path, *names: str) -> int:
    return sum((folder / f"{name}.safetensors").stat().st_size for name in names)


def test_the_least_recently_used_one_goes(
    resident: Callable[[str], Resident], loras: Loras, folder: Path, jobs: Jobs
) -> None:
    model = resident("sd")
    rig, job = Rig({"sd": model}), jobs("sd")[0]
    loras._capacity = sizes(folder, "sd-a", "sd-k")
    for id, name in enumerate(("sd-a", "sd-b", "sd-a", "sd-k")):
        rig.run(replace(job, id=str(id), loras=(Lora(name),)))
    assert [name[:4] for name in loras.kept] == ["sd_a", "sd_k"]
    assert list(model.pipe.unet.peft_config) == loras.kept
    again = replace(job, id="again", loras=(Lora("sd-b"),))
    rig.run(again)
    assert np.abs(rig.pixels(again) - rig.pixels(replace(job, id="1"))).max() <= 1


def test_none_goes_while_a_lane_wears_it(
    resident: Callable[[str], Resident], tiny_registry: Registry, loras: Loras, folder: Path,
    jobs: Jobs,
) -> None:  # fmt: skip
    loras._capacity = 0
    model = resident("sd")
    rig, them = Rig({"sd": model}), company(jobs("sd")[0])
    rig.run(*them)
    for job in them:
        assert np.abs(rig.pixels(job) - alone(tiny_registry, folder, job)).max() <= 1
    assert loras.kept == []
    for module in (model.pipe.unet, model.pipe.text_encoder):
        assert not hasattr(module, "peft_config")
        assert not any("lora" in name for name, _ in module.named_modules())


def test_a_module_of_two_models_wears_it_for_one(
    resident: Callable[[str], Resident], tiny_registry: Registry, loras: Loras, folder: Path,
    jobs: Jobs,
) -> None:  # fmt: skip
    one, two = resident("flux"), resident("flux")
    pipe = type(two.pipe)(**two.pipe.components | {"text_encoder": one.pipe.text_encoder})
    rig, job = Rig({"flux": one, "other": replace(two, pipe=pipe)}), jobs("flux")[0]
    worn = (Lora("flux-a"),)
    them = [
        replace(job, id="1", loras=worn),
        replace(job, id="2", model="other"),
        replace(job, id="3", model="other", loras=worn),
        replace(job, id="4"),
    ]
    rig.run(*them)
    for it in them:
        truth = alone(tiny_registry, folder, replace(it, model="flux"))
        assert np.abs(rig.pixels(it) - truth).max() <= 1, it.id
    loras._capacity = 0
    rig.run(replace(job, id="5"))
    assert loras.kept == []


def test_two_models_of_one_denoiser_wear_what_either_brought(
    resident: Callable[[str], Resident], tiny_registry: Registry, loras: Loras, folder: Path,
    jobs: Jobs,
) -> None:  # fmt: skip
    one = resident("flux")
    two = replace(one, pipe=type(one.pipe)(**one.pipe.components))
    rig, job = Rig({"flux": two}), replace(jobs("flux")[0], loras=(Lora("flux-a"),))
    rig.engine.submit(job)
    while not loras.held:
        rig.engine.step()
    loras.leave(one.pipe)
    rig.run()
    assert np.abs(rig.pixels(job) - alone(tiny_registry, folder, job)).max() <= 1
    loras.leave(two.pipe)
    assert loras.kept == []


def test_it_is_read_once_for_a_model_whatever_others_do(
    resident: Callable[[str], Resident], loras: Loras, jobs: Jobs
) -> None:
    one, two = resident("flux"), resident("flux")
    rig = Rig({"flux": one, "other": two})
    job = replace(jobs("flux")[0], id="1", loras=(Lora("flux-a"),))
    rig.run(job, replace(job, id="2", model="other"))
    loras.leave(one.pipe)
    [kept] = loras.kept
    rig.run(replace(job, id="3", model="other"))
    assert loras.kept == [kept]


def test_a_model_may_go_while_a_file_is_read_for_it(
    resident: Callable[[str], Resident], loras: Loras, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, gone = threading.Event(), threading.Event()
    state = FluxPipeline.lora_state_dict

    def slowly(*told: object, **more: object) -> object:
        begun.set()
        assert gone.wait(60)
        return state(*told, **more)

    monkeypatch.setattr(FluxPipeline, "lora_state_dict", staticmethod(slowly))
    model = resident("flux")
    denoiser = weakref.ref(model.pipe.transformer)
    worn = (Lora("flux-a"),)
    assert not loras.ready(model.pipe, worn)
    assert begun.wait(60)
    del model
    gc.collect()
    assert denoiser() is None, "or it would lie in memory beside what is loaded next"
    gone.set()
    again = resident("flux")
    while not loras.ready(again.pipe, worn):
        time.sleep(0.001)
    with loras.on(again.pipe, worn) as names:
        assert len(names) == 1


def test_a_model_that_is_constructed_meanwhile_does_no_harm(
    resident: Callable[[str], Resident], tiny_registry: Registry, folder: Path, jobs: Jobs
) -> None:
    rig = Rig({"sd": resident("sd")})
    job = replace(jobs("sd")[0], loras=(Lora("sd-a"),))
    truth = alone(tiny_registry, folder, job)
    empty = init_empty_weights()
    empty.__enter__()
    threading.Timer(0.05, empty.__exit__, (None, None, None)).start()
    rig.run(job)
    assert np.abs(rig.pixels(job) - truth).max() <= 1


def test_those_of_a_model_that_is_gone_are_forgotten(
    resident: Callable[[str], Resident], tiny_registry: Registry, loras: Loras, folder: Path,
    jobs: Jobs,
) -> None:  # fmt: skip
    first, job = resident("flux"), replace(jobs("flux")[0], loras=(Lora("flux-a"),))
    encoder = first.pipe.text_encoder
    Rig({"flux": first}).run(job)
    assert len(encoder.peft_config) == 1
    del first
    gc.collect()
    rig = Rig({"flux": resident("flux")})
    rig.run(job)
    assert np.abs(rig.pixels(job) - alone(tiny_registry, folder, job)).max() <= 1
    assert not hasattr(encoder, "peft_config")
    assert len(loras.kept) == 1


def spoiled(folder: Path, kind: str) -> None:
    weights = load_file(folder / "flux-a.safetensors")
    first = next(key for key in weights if key.startswith("transformer") and "lora_A" in key)
    if kind == "wide":
        weights[first] = torch.zeros(4, 64)
    elif kind == "norm":
        weights["transformer.transformer_blocks.0.attn.norm_q.weight"] = torch.zeros(16)
    save_file(weights, folder / "bad.safetensors")
    if kind == "nonsense":
        (folder / "bad.safetensors").write_bytes(b"nonsense")
    if kind == "pickled":
        torch.save(weights, folder / "bad.safetensors")
    if kind == "other family":
        shutil.copy(folder / "sd-a.safetensors", folder / "bad.safetensors")
    if kind == "gone":
        (folder / "bad.safetensors").unlink()


@pytest.mark.parametrize("kind", ["wide", "norm", "nonsense", "pickled", "other family", "gone"])
def test_what_does_not_fit_fails_its_job_alone_and_leaves_nothing(
    kind: str, resident: Callable[[str], Resident], tiny_registry: Registry, folder: Path,
    jobs: Jobs,
) -> None:  # fmt: skip
    spoiled(folder, kind)
    model = resident("flux")
    before = {name: it.clone() for name, it in model.pipe.transformer.state_dict().items()}
    rig, job = Rig({"flux": model}), jobs("flux")[0]
    bad = replace(job, id="bad", loras=(Lora("flux-a"), Lora("bad")))
    rig.run(job, bad)
    assert isinstance(rig.outcomes["bad"], UnfitLora)
    assert rig.outcomes["bad"].name == "bad"
    assert np.abs(rig.pixels(job) - alone(tiny_registry, folder, job)).max() <= 1
    after = model.pipe.transformer.state_dict()
    for name, tensor in before.items():
        same = name if name in after else ".base_layer.".join(name.rsplit(".", 1))
        assert (after[same] == tensor).all()
    adapters = getattr(model.pipe.transformer, "peft_config", {})
    assert all("bad" not in name for name in adapters)


def test_lanes_go_on_while_a_file_is_read(
    resident: Callable[[str], Resident], jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, worn = jobs("sd")[0], replace(jobs("sd")[1], loras=(Lora("sd-a"),))
    rig = Rig({"sd": resident("sd")})
    readers = []

    def slowly(file: Path) -> bool:
        readers.append(threading.get_ident())
        while plain.id not in rig.outcomes:
            time.sleep(0.001)
        return require_trusted_lora(file)

    monkeypatch.setattr(lora_checks, "require_trusted_lora", slowly)
    rig.run(worn, plain)
    assert rig.pixels(worn).std() > 5
    assert readers != [threading.get_ident()] and len(readers) == 1


def test_a_file_is_read_once_for_all_that_wait_for_it(
    resident: Callable[[str], Resident], jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(file: Path) -> bool:
        read.append(file.stem)
        return require_trusted_lora(file)

    monkeypatch.setattr(lora_checks, "require_trusted_lora", counted)
    a, b = Lora("sd-a"), Lora("sd-b")
    them = [replace(jobs("sd")[0], id=str(n), seed=n, loras=(a, b)[n % 2 :]) for n in range(4)]
    rig = Rig({"sd": resident("sd")})
    rig.run(*them)
    rig.run(replace(them[0], id="later"))
    assert read == ["sd-a", "sd-b"]


def test_one_that_is_not_its_manifests_is_not_worn(
    resident: Callable[[str], Resident], folder: Path, tmp_path: Path, jobs: Jobs
) -> None:
    take_in_lora(folder / "sd-a.safetensors", tmp_path, "mine")
    model = replace(resident("sd"), loras=Loras(tmp_path))
    rig, job = Rig({"sd": model}), replace(jobs("sd")[0], loras=(Lora("mine"),))
    rig.run(job)
    assert rig.pixels(job).std() > 5
    data = bytearray((tmp_path / "mine.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "mine.safetensors").write_bytes(data)
    changed = replace(job, id="changed")
    rig.run(changed)
    assert isinstance(rig.outcomes["changed"], ModelUnavailable)
    assert "is not what its manifest says" in str(rig.outcomes["changed"])
