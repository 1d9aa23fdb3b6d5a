"""What a device gave up waits in the host's memory, and comes back as it was.

Both ends are the CPU here: what is counted, shared and given back is the same with a GPU.
Weights that come back lie elsewhere in memory, where another kernel may be chosen for them, so
images are compared within 1/255; weights are compared to the bit.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from pipelines.core import Lora
from pipelines.models.components import Shelf
from pipelines.models.footprints import Component
from pipelines.models.keeping import CHUNK, Keeper, Ways, keeper, pack
from pipelines.models.quantizing import weigh
from pipelines.models.residence import Residence
from pipelines.registry import Registry
from tests import tiny_files, tiny_loras
from tests.pipelines.conftest import Rig
from tests.pipelines.models.test_residence import Box, Pipe, a_job, models, size_of, twins

__all__ = ["twins"]


class Ends:
    """How many tensors went each way."""

    def __init__(self) -> None:
        self.there = self.back = 0
        self.ways = Ways(self._to_host, self._to_device)

    def _to_host(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        self.there += len(tensors)
        return pack(tensors, pin=False)

    def _to_device(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        self.back += len(tensors)
        return [it.clone() for it in tensors]


def layer(number: int, size: int = 100) -> torch.nn.Module:
    return torch.nn.Linear(size, number, bias=False)


def test_it_comes_back_as_it_was() -> None:
    ends, module = Ends(), torch.nn.Sequential(layer(3), torch.nn.BatchNorm1d(3))
    module.append(module[0])  # what is tied stays tied
    before = {name: it.clone() for name, it in module.state_dict().items()}
    kept = Keeper(10**6, ends.ways)
    kept.keep("a", module)
    assert "a" in kept and kept.size == weigh(module)
    places = {it.data_ptr() for it in module.parameters()}
    kept.back("a")
    assert "a" not in kept and kept.size == 0
    assert places.isdisjoint(it.data_ptr() for it in module.parameters())
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert module[2].weight is module[0].weight
    assert ends.there == ends.back == 6


def test_the_one_kept_longest_goes_first() -> None:
    kept = Keeper(1000, Ends().ways)
    for name in "abc":
        kept.keep(name, layer(1))
    assert [name in kept for name in "abc"] == [False, True, True]
    kept.keep("huge", layer(3))
    assert kept.size == 800, "for what cannot fit, nothing goes"


def test_a_host_that_has_no_more_keeps_nothing() -> None:
    def full(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        raise RuntimeError("CUDA error: out of memory")

    kept, module = Keeper(1000, Ways(full, full)), layer(1)
    before = module.weight.clone()
    kept.keep("a", module)
    assert "a" not in kept and torch.equal(module.weight, before)


def test_what_finds_no_room_on_the_device_stays_in_the_host_s_memory() -> None:
    def full(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        raise torch.OutOfMemoryError

    kept, module = Keeper(1000, Ways(Ends().ways.to_host, full)), layer(1)
    kept.keep("a", module)
    with pytest.raises(torch.OutOfMemoryError):
        kept.back("a")
    assert "a" in kept, "or it would be taken for one that is on the device"


@pytest.mark.parametrize("chunk", [64, 1000, CHUNK])
def test_tensors_are_packed_into_few_blocks(chunk: int) -> None:
    tensors = [
        torch.randn(7, 3),
        torch.arange(5, dtype=torch.uint8),
        torch.randn(2, 3, 4, 5).to(torch.bfloat16).transpose(1, 2),
        torch.tensor(3.0),
        torch.empty(0),
    ]
    copies = pack(tensors, pin=False, chunk=chunk)
    for copy, tensor in zip(copies, tensors, strict=True):
        assert copy.dtype == tensor.dtype and torch.equal(copy, tensor)
    blocks = {it.untyped_storage().data_ptr(): it.untyped_storage().nbytes() for it in copies}
    assert len(blocks) <= (4 if chunk == 64 else 1)
    assert sum(blocks.values()) <= sum(it.nbytes for it in tensors) + 64 * len(tensors)


def test_only_gpus_keep_anything() -> None:
    assert keeper("cpu", 10**9) is None
    assert keeper("cuda:0", 0) is None
    assert keeper("cuda:0", 10**9) is not None


class KeepingBox(Box):
    """A device whose host keeps what it gives up."""

    def __init__(self, them: dict, budget: float, capacity: float = 10**9, **more: Path) -> None:
        super().__init__(them, budget, **more)
        self.ends = Ends()
        self.kept = self.residence._shelf._keeper = Keeper(capacity, self.ends.ways)

    def in_memory(self) -> int:
        """The bytes of the modules on the device."""
        shelf = self.residence._shelf
        there = [it for name, it in list(shelf._modules.items()) if name not in self.kept]
        return sum(map(weigh, there))


def test_three_models_where_two_fit(
    tiny_registry: Registry, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = models(tiny_registry, "sd", "flux", "sd3")
    budget = size_of(*map(Box(three, 0).residence.footprint, three)) - 1
    box = KeepingBox(three, budget)
    order = "sd flux sd3 sd flux sd3 flux sd".split()
    move, reads = box.residence._shelf._move, []
    monkeypatch.setattr(
        box.residence._shelf, "_move", lambda module: (reads.append(module), move(module))
    )
    for number, model in enumerate(order):
        box.run([a_job(model, f"{number}", seed=number)])
        assert box.in_memory() <= budget
    assert box.pool.evictions >= 3
    assert len(reads) == 3 + 4 + 5, "each module is read from its files once"
    assert box.ends.back > 0
    for number, model in enumerate(order):
        job = a_job(model, f"{number}", seed=number)
        rig.run(job)
        assert abs(box.pixels(job.id) - rig.pixels(job).ravel()).max() <= 1


def test_a_whole_checkpoint_comes_back_too(tiny_registry: Registry, tmp_path: Path) -> None:
    folder = tiny_registry.path("sd")
    file = tiny_files.build_checkpoint(folder, tmp_path / "one.safetensors")
    one = tiny_registry.models["sd"].model_copy(update={"config": str(folder)}), file
    two = models(tiny_registry, "flux") | {"one": one}
    budget = max(size_of(Box(two, 0).residence.footprint(model)) for model in two) + 2048
    box = KeepingBox(two, budget)
    box.run([a_job("one", "a")])
    box.run([a_job("flux", "b")])
    assert len(box.kept._kept) == 3, "unet, vae and text encoder"
    box.run([a_job("one", "c")])
    assert box.ends.back > 0
    assert abs(box.pixels("c") - box.pixels("a")).max() <= 1


def test_what_is_shared_is_not_taken_from_those_who_stay(twins: dict) -> None:
    flux = size_of(Box(twins, 0).residence.footprint("flux"))
    box = KeepingBox(twins, flux + 2048)
    box.run([a_job("flux", "a")])
    box.run([a_job("twin", "b")])
    assert box.pool.resident == ["twin"]
    [kept] = box.kept._kept
    assert "Transformer" in kept, "all else is the other one's, too"
    box.run([a_job("flux", "c")])
    assert box.pool.resident == ["flux"]
    alone = Box(twins, 10**9)
    alone.run([a_job("flux", "a"), a_job("twin", "b")])
    assert abs(box.pixels("a") - alone.pixels("a")).max() <= 1
    assert abs(box.pixels("b") - alone.pixels("b")).max() <= 1
    assert abs(box.pixels("c") - box.pixels("a")).max() <= 1


def test_what_others_use_or_wait_for_is_left_where_it_is(tmp_path: Path) -> None:
    modules = {name: layer(1) for name in ("shared", "wanted", "own", "other")}
    parts = {}
    for name in modules:
        (tmp_path / name).touch()
        parts[name] = Component(name, (tmp_path / name,), 400)
    ends = Ends()
    kept = Keeper(10**6, ends.ways)
    shelf = Shelf("cpu", keeper=kept)
    stays, goes = ("shared", "other"), ("shared", "wanted", "own")
    pipes = [Pipe(**{it: modules[it] for it in them}) for them in (stays, goes)]
    for pipe in pipes:
        shelf.put(pipe, parts)
    shelf.expect([parts["wanted"]], lambda fraction: None)
    going = [pipes.pop()]
    shelf.give_up(going)
    assert going == []
    assert [name in kept for name in modules] == [False, False, True, False]
    assert ends.there == 1


def test_what_comes_back_makes_no_room_for_what_goes(tmp_path: Path) -> None:
    modules = {name: layer(1) for name in ("comes", "idle", "goes")}
    for name in modules:
        (tmp_path / name).touch()
    parts = {name: Component(name, (tmp_path / name,), 400) for name in modules}
    ends = Ends()
    kept = Keeper(1000, ends.ways)
    shelf = Shelf("cpu", keeper=kept)
    pipes = {name: Pipe(**{name: module}) for name, module in modules.items()}
    for pipe in pipes.values():
        shelf.put(pipe, parts)
    for name in ("comes", "idle"):
        shelf.give_up([pipes[name]])
    shelf.expect([parts["comes"]], lambda fraction: None)
    shelf.give_up([pipes["goes"]])
    assert [name in kept for name in modules] == [True, False, True]
    assert shelf.known({"comes": parts["comes"]}) == {"comes": modules["comes"]}
    assert "comes" not in kept and ends.back == 1, "it is on the device"


def test_loras_do_not_wait_with_their_model(tiny_registry: Registry, tmp_path: Path) -> None:
    two = models(tiny_registry, "sd", "flux")
    with torch.enable_grad():
        tiny_loras.build(two["flux"][1], tmp_path / "it.safetensors", 1)
    footprint = Box(two, 0).residence.footprint
    budget = max(size_of(footprint(model)) for model in two) + 100_000
    box = KeepingBox(two, budget, loras=tmp_path)
    worn = a_job("flux", "worn", loras=(Lora("it"),))
    box.run([a_job("flux", "plain"), worn])
    assert box.residence.loras.size > 0
    box.run([a_job("sd", "else")])
    assert box.residence.loras.size == 0
    transformers = [it for name, (it, _) in box.kept._kept.items() if "Transformer" in name]
    assert len(transformers) == 1 and not hasattr(transformers[0], "peft_config")
    box.run([a_job("flux", "again"), a_job("flux", "worn again", loras=worn.loras)])
    assert abs(box.pixels("again") - box.pixels("plain")).max() <= 1
    assert abs(box.pixels("worn again") - box.pixels("worn")).max() <= 1
    assert abs(box.pixels("worn") - box.pixels("plain")).max() > 8


def test_the_host_s_budget_holds(tiny_registry: Registry) -> None:
    three = models(tiny_registry, "sd", "flux", "sd3")
    footprint = Box(three, 0).residence.footprint
    budget = max(size_of(footprint(model)) for model in three) + 1024
    box = KeepingBox(three, budget, capacity=10**6)
    for number, model in enumerate(["sd", "flux", "sd3", "flux", "sd"]):
        box.run([a_job(model, f"{number}")])
        assert box.kept.size <= 10**6
    assert box.ends.back > 0


def test_weights_that_have_changed_are_read_anew(tiny_registry: Registry, tmp_path: Path) -> None:
    import shutil

    folder = shutil.copytree(tiny_registry.path("flux"), tmp_path / "flux")
    two = models(tiny_registry, "sd") | {"flux": (tiny_registry.models["flux"], folder)}
    footprint = Box(two, 0).residence.footprint
    box = KeepingBox(two, max(size_of(footprint(model)) for model in two) + 1024)
    box.run([a_job("flux", "a")])
    box.run([a_job("sd", "b")])
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-40_000:] = bytes(40_000)
    weights.write_bytes(data)
    box.run([a_job("flux", "c")])
    assert abs(box.pixels("c") - box.pixels("a")).max() > 8


def test_a_worker_on_a_cpu_has_no_keeper(tiny_registry: Registry) -> None:
    from pipelines.messages import Begin

    begin = Begin("cpu", models(tiny_registry, "sd"), [], 1, host_memory=0.5)
    assert Residence(begin)._shelf._keeper is None
