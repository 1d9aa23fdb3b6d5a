"""Models under a memory budget, by the engine's own loop; and what models share."""

import gc
import json
import shutil
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from diffusers.hooks.group_offloading import _is_group_offload_enabled

from pipelines.core import Image, Job, Lora, ModelUnavailable
from pipelines.engine import Engine
from pipelines.messages import Begin
from pipelines.models.components import Shelf
from pipelines.models.footprints import Component, size_of
from pipelines.models.pool import Pool
from pipelines.models.quantizing import weigh
from pipelines.models.residence import Residence
from pipelines.models.room import Room
from pipelines.registry import ModelSpec, Registry
from pipelines.scheduling.policy import Policy
from pipelines.scheduling.stopwatch import stopwatch
from tests import tiny_loras
from tests.pipelines.conftest import Rig
from tests.support.devices import DEVICE
from tests.tiny_matting import segmentation

Models = dict[str, tuple[ModelSpec, Path]]


class Box:
    """A device with so much memory, driven by hand."""

    def __init__(self, models: Models, budget: float, **more: Path) -> None:
        self.outcomes: dict[str, object] = {}
        self.residence = Residence(Begin(DEVICE, models, preload=[], threads=1, **more), budget)
        room = Room(self.residence.budget, self.residence.loras)
        footprint, leave = self.residence.footprint, self.residence.leave
        self.pool = Pool(self.residence.load, lambda: None, room, footprint, leave)
        keep = self.outcomes.__setitem__
        self.engine = Engine(self.pool, Policy(), stopwatch(DEVICE), keep)

    def run(self, jobs: list[Job], each: Callable[[], None] = lambda: None) -> None:
        """Until every job has come to its end; eight at a time wait or are under way."""
        coming = list(jobs)
        for _ in range(100_000):
            asked = jobs[: len(jobs) - len(coming)]
            for _ in range(8 - sum(job.id not in self.outcomes for job in asked)):
                if coming:
                    self.engine.submit(coming.pop(0))
            self.engine.step()
            each()
            if all(job.id in self.outcomes for job in jobs):
                return
            if not self.engine.lanes:
                time.sleep(0.001)
        raise AssertionError("a job was lost")

    def pixels(self, id: str) -> np.ndarray:
        image = self.outcomes[id]
        assert isinstance(image, Image), image
        return np.frombuffer(image.pixels, np.uint8).astype(int)

    def in_memory(self) -> int:
        """The bytes of the modules that are really there, LoRAs and all."""
        there = [*self.residence._shelf._modules.values()]
        if self.residence._matting and "_parts" in vars(self.residence._matting):
            there.append(self.residence._matting._parts.model)
        return sum(weigh(module) for module in there)


def models(registry: Registry, *families: str) -> Models:
    return {family: (registry.models[family], registry.path(family)) for family in families}


def a_job(model: str, id: str = "a", **changes: object) -> Job:
    job = Job(
        id=id, model=model, prompt="a red fox", width=64, height=64, seed=1, steps=2,
        guidance_scale=0.0,
    )  # fmt: skip
    return replace(job, **changes)


def test_three_models_where_two_fit(tiny_registry: Registry, rig: Rig) -> None:
    three = models(tiny_registry, "sd", "flux", "sd3")
    sizes = Box(three, 0).residence.footprint
    budget = size_of(*map(sizes, three)) - 1
    box = Box(three, budget)
    dice = Random(7)
    jobs = [
        a_job(dice.choice([*three]), f"{n}", seed=n % 5, steps=dice.randint(1, 3))
        for n in range(200)
    ]
    used: list[int] = []

    def look() -> None:
        used.append(box.pool.used)
        assert len(box.pool.resident) <= 2
        assert set(box.engine._busy) <= set(box.pool.resident), "none gives way that has lanes"

    box.run(jobs, look)
    assert 0 < max(used) <= budget
    assert box.in_memory() <= budget
    assert box.pool.evictions >= 3
    assert all(isinstance(outcome, Image) for outcome in box.outcomes.values())
    for job in jobs[:12]:
        rig.run(job)
        assert abs(box.pixels(job.id) - rig.pixels(job).ravel()).max() <= 1


def test_what_lies_beside_models_is_within_the_budget_too(
    tiny_registry: Registry, tmp_path: Path
) -> None:
    three = models(tiny_registry, "sd", "flux", "sd3")
    for n in range(6):
        with torch.enable_grad():
            tiny_loras.build(three["flux"][1], tmp_path / f"flux{n}.safetensors", n)
            tiny_loras.build(three["sd"][1], tmp_path / f"sd{n}.safetensors", n, text=True)
    lora = sum((tmp_path / f"{it}0.safetensors").stat().st_size for it in ("flux", "sd"))
    cutter = segmentation(tmp_path / "cutter")
    matting = Box(three, 0, matting=cutter).residence.budget * -1
    assert matting > 10_000
    budget = size_of(*map(Box(three, 0).residence.footprint, three)) - 1 + matting + lora
    box = Box(three, budget, loras=tmp_path, matting=cutter)
    dice = Random(7)
    jobs = []
    for n in range(60):
        model = dice.choice(["sd", "flux", "sd3"])
        kinds = dice.sample(range(6), dice.randint(0, 2)) if model != "sd3" else []
        worn = tuple(Lora(f"{model}{kind}") for kind in kinds)
        jobs.append(a_job(model, f"{n}", seed=n % 5, loras=worn, cutout=n % 4 == 0))
    seen: list[int] = []

    def look() -> None:
        if not box.pool.loading:  # what was given up may be on its way out
            seen.append(box.in_memory())
            assert box.pool.used + box.residence.loras.size <= box.residence.budget

    box.run(jobs, look)
    assert max(seen) <= budget
    assert max(seen) > budget - 2 * lora, "or the test has shown nothing"
    assert all(isinstance(it, Image) for it in box.outcomes.values()), box.outcomes
    assert box.pool.evictions >= 2
    for model in ("sd", "flux"):
        one = next(job for job in jobs if job.model == model and job.loras)
        alone = Box(models(tiny_registry, model), 10**9, loras=tmp_path, matting=cutter)
        alone.run([one])
        assert abs(box.pixels(one.id) - alone.pixels(one.id)).max() <= 1


def test_loras_that_can_never_fit_fail_their_job_alone(
    tiny_registry: Registry, tmp_path: Path
) -> None:
    only = models(tiny_registry, "flux")
    with torch.enable_grad():
        tiny_loras.build(only["flux"][1], tmp_path / "wide.safetensors", 1)
    box = Box(only, size_of(Box(only, 0).residence.footprint("flux")) + 4000, loras=tmp_path)
    box.run([a_job("flux", "a", loras=(Lora("wide"),)), a_job("flux", "b")])
    assert isinstance(box.outcomes["a"], ModelUnavailable)
    assert isinstance(box.outcomes["b"], Image)


def test_jobs_of_a_busy_model_do_not_starve_another(tiny_registry: Registry) -> None:
    two = models(tiny_registry, "sd", "flux")
    sizes = Box(two, 0).residence.footprint
    box = Box(two, max(size_of(sizes(model)) for model in two) + 1024)
    crowd = [a_job("sd", f"{n}", steps=4) for n in range(60)]
    other = a_job("flux", "other")
    box.run([*crowd[:4], other, *crowd[4:]])
    assert list(box.outcomes).index("other") < 20, "it was asked for as the fifth"


def test_what_cannot_fit_is_refused_and_the_rest_goes_on(tiny_registry: Registry) -> None:
    two = models(tiny_registry, "sd", "flux")
    sizes = Box(two, 0).residence.footprint
    box = Box(two, size_of(sizes("flux")) + 1024)
    box.run([a_job("sd", "a"), a_job("flux", "b")])
    assert isinstance(box.outcomes["a"], ModelUnavailable)
    assert "'sd' needs 0.0017 GB, and there are 0.000638 GB" in str(box.outcomes["a"])
    assert isinstance(box.outcomes["b"], Image)


@pytest.fixture
def twins(tiny_registry: Registry, tmp_path: Path) -> Iterator[Models]:
    """Two models whose files are the same but for the transformer."""
    shutil.copytree(tiny_registry.path("flux"), tmp_path / "twin")
    from diffusers import FluxTransformer2DModel

    torch.manual_seed(42)
    path = tmp_path / "twin" / "transformer"
    config = FluxTransformer2DModel.load_config(path)
    FluxTransformer2DModel.from_config(config).save_pretrained(path)
    yield models(tiny_registry, "flux") | {"twin": (tiny_registry.models["flux"], path.parent)}


def test_what_models_share_is_loaded_and_counted_once(twins: Models) -> None:
    box = Box(twins, 10**9)
    box.run([a_job("flux", "a"), a_job("twin", "b"), a_job("flux", "c"), a_job("twin", "d")])
    one, two = (box.pool.get(model).pipe for model in twins)
    for name in ("vae", "text_encoder", "text_encoder_2"):
        assert getattr(one, name) is getattr(two, name)
    assert one.transformer is not two.transformer
    modules = {m for p in (one, two) for m in p.components.values() if hasattr(m, "parameters")}
    assert box.pool.used == sum(map(weigh, modules))
    for model, ids in {"flux": "ac", "twin": "bd"}.items():
        alone = Box(twins, 10**9)
        alone.run([a_job(model)])
        made = alone.pixels("a")
        assert all(abs(box.pixels(id) - made).max() <= 1 for id in ids)
    assert abs(box.pixels("a") - box.pixels("b")).max() > 10


def test_what_is_shared_stays_when_one_of_them_goes(twins: Models) -> None:
    flux = size_of(Box(twins, 0).residence.footprint("flux"))
    box = Box(twins, flux + 2048)
    box.run([a_job("flux", "a")])
    resident = box.pool.get("flux")
    shared, own = (weakref.ref(getattr(resident.pipe, it)) for it in ("vae", "transformer"))
    del resident
    box.run([a_job("flux", "a"), a_job("twin", "b")])
    assert (box.pool.resident, box.pool.evictions) == (["twin"], 1)
    assert shared() is box.pool.get("twin").pipe.vae, "it was not read a second time"
    assert own() is None
    box.pool.evict(keep=())
    assert shared() is None and box.in_memory() == 0


def test_files_that_only_look_alike_are_not_shared(tmp_path: Path) -> None:
    pieces = []
    for name, content in (("one", b"abc"), ("two", b"abd"), ("three", b"abc")):
        (tmp_path / name).write_bytes(content)
        pieces.append(Component("AutoencoderKL@same", (tmp_path / name,), 3))
    one, two, three = pieces
    shelf = Shelf("cpu")
    pipe = Pipe(vae=torch.nn.Linear(2, 2))
    shelf.put(pipe, {"vae": one})
    assert shelf.known({"vae": two}) == {}
    assert shelf.known({"vae": three}) == {"vae": pipe.vae}
    (tmp_path / "one").write_bytes(b"abcd")
    assert shelf.known({"vae": three}) == {}, "what was read is not what lies there now"


class Pipe:
    """As much of a pipeline as a shelf sees."""

    def __init__(self, **components: torch.nn.Module) -> None:
        self.components = components
        vars(self).update(components)

    def to(self, device: str) -> None:
        assert device == "cpu"


def test_a_module_that_a_file_names_is_not_imported(
    tiny_registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(tiny_registry.path("sd"), tmp_path / "sd")
    (tmp_path / "planted.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    index = json.loads((folder / "model_index.json").read_text())
    index["unet"] = ["planted", "UNet2DConditionModel"]
    (folder / "model_index.json").write_text(json.dumps(index))
    box = Box({"sd": (tiny_registry.models["sd"], folder)}, 10**9)
    box.run([a_job("sd")])
    assert isinstance(box.outcomes["a"], ModelUnavailable)
    assert not (tmp_path / "ran").exists()


def test_progress_goes_from_nothing_to_all(twins: Models) -> None:
    residence = Residence(Begin("cpu", twins, preload=[], threads=1))
    told: dict[str, list[float]] = {"flux": [], "twin": []}
    kept = [residence.load(model, [], told[model].append) for model in told]
    for fractions in told.values():
        assert fractions == sorted(fractions) and len(fractions) > 10
        assert fractions[0] < 0.5 and fractions[-1] == pytest.approx(1, abs=0.01)
    assert len(told["twin"]) < len(told["flux"]), "what is there already is not on its way"
    assert kept[1].parts == residence.footprint("twin") | {
        name: size for name, size in kept[1].parts.items() if name in kept[0].parts
    }


def test_what_is_known_of_a_model_that_is_gone_is_not_taken_for_another_one() -> None:
    shelf, seen = Shelf("cpu"), list[str]()
    for _ in range(50):  # in the same place in memory, sooner or later
        shelf.expect([], lambda fraction: None)
        shelf.put(Pipe(unet=torch.nn.Linear(2, 2)), {})
        seen += shelf.arrived()
        gc.collect()
    assert len(set(seen)) == 50


@pytest.mark.parametrize("way", ["text", "group"])
def test_what_is_streamed_makes_the_same_images(
    way: str, tiny_registry: Registry, rig: Rig
) -> None:
    whole = models(tiny_registry, "sd", "flux", "sd3")
    streamed = {
        model: (spec.model_copy(update={"offload": way}), path)
        for model, (spec, path) in whole.items()
    }
    box = Box(streamed, 10**9)
    jobs = [a_job(model, f"{model}{n}", seed=n) for model in streamed for n in range(3)]
    box.run(jobs)
    for job in jobs:
        rig.run(job)
        assert abs(box.pixels(job.id) - rig.pixels(job).ravel()).max() <= 1
    assert box.pool.used < size_of(*map(Box(whole, 0).residence.footprint, whole))
    text = {"text_encoder", "text_encoder_2"}
    there = streamed_modules(box.pool.get("flux").pipe)
    assert there == (text if way == "text" else text | {"transformer"})


def streamed_modules(pipe: object) -> set[str]:
    return {
        name
        for name, module in pipe.components.items()  # type: ignore[attr-defined]
        if isinstance(module, torch.nn.Module) and _is_group_offload_enabled(module)
    }
