"""Weights come to a device beside the passes that run there, and wait for none of them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pipelines.core import Lora
from pipelines.messages import Begin
from pipelines.models import copy_stream
from pipelines.models.copy_stream import CopyStream
from pipelines.models.residence import Residence
from pipelines.registry import Registry
from pipelines.scheduling.stopwatch import LOADS, CudaStopwatch
from tests import tiny_loras
from tests.support import pretend_cuda
from tests.support.pretend_cuda import devices as state

DEVICE = "cuda:0"


@contextmanager
def endless_pass(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A pass occupies the default stream for ever: whoever waits for it fails."""

    def sleep(seconds: float) -> None:
        assert seconds < 60, "waits for the passes of the default stream"
        time.sleep(seconds)

    clock = SimpleNamespace(sleep=sleep, perf_counter=time.perf_counter)
    stream = torch.cuda.default_stream(0).stream_id
    with monkeypatch.context() as patch:
        patch.setattr(state, "time", clock)
        patch.setattr(pretend_cuda.settings, "pace", 1e-9)
        patch.setitem(state._busy_until, (0, stream), time.perf_counter() + 1e6)
        yield


def test_pass_without_end_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    with endless_pass(monkeypatch), pytest.raises(AssertionError, match="waits for the passes"):
        torch.ones(3).to(DEVICE)


def residence(registry: Registry, *families: str, **more: Any) -> Residence:
    models = {it: (registry.models[it], registry.path(it)) for it in families}
    return Residence(Begin(DEVICE, models, preload=[], threads=1, **more), 10**10)


def weights(pipe: Any) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": tensor.cpu()
        for name, module in pipe.components.items()
        if isinstance(module, torch.nn.Module)
        for key, tensor in module.state_dict().items()
    }


def devices_of(pipe: Any) -> set[str]:
    modules = [it for it in pipe.components.values() if isinstance(it, torch.nn.Module)]
    return {str(tensor.device) for it in modules for tensor in it.state_dict().values()}


def test_models_load_and_return_from_the_host_beside_passes(
    tiny_registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = residence(tiny_registry, "sd", "sd3", host_memory=0.2)
    monkeypatch.setattr(box, "_import_libraries", lambda model: None)
    with endless_pass(monkeypatch):
        first = box.load("sd", [], lambda fraction: None)
    assert devices_of(first.pipe) == {DEVICE}
    before = weights(first.pipe)
    box.leave(first)
    given_up = [first]
    del first
    with endless_pass(monkeypatch):
        other = box.load("sd3", given_up, lambda fraction: None)
    keeper = box._shelf._keeper
    assert keeper is not None and keeper.size > 0
    other_weights = weights(other.pipe)
    with endless_pass(monkeypatch):
        again = box.load("sd", [], lambda fraction: None)
    assert keeper.size == 0, "all of it came back"
    assert devices_of(again.pipe) == {DEVICE}
    for name, tensor in weights(again.pipe).items():
        assert torch.equal(tensor, before[name]), name
    for name, tensor in weights(other.pipe).items():
        assert torch.equal(tensor, other_weights[name]), name


def test_loras_load_beside_passes(
    tiny_registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_loras.build(tiny_registry.path("sd"), tmp_path / "fox.safetensors", seed=1)
    box = residence(tiny_registry, "sd", loras=tmp_path)
    pipe = box.load("sd", [], lambda fraction: None).pipe
    wanted = [Lora("fox", 1.0)]
    while not box.loras.ready(pipe, wanted):
        time.sleep(0.01)
    with endless_pass(monkeypatch), box.loras.on(pipe, wanted) as worn:
        assert worn
    assert devices_of(pipe) == {DEVICE}


@pytest.mark.parametrize("size", [64, 1000, 2**20])
def test_staging_copies_every_byte(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy_stream, "STAGING_BYTES", size)
    tensors = {
        "large": torch.randn(70, 30),
        "bfloat16s": torch.randn(5, 3).to(torch.bfloat16),
        "number": torch.tensor(3.0),
        "empty": torch.empty(0),
        "turned": torch.randn(4, 6).t(),
        "flags": torch.tensor([True, False, True]),
    }
    module = torch.nn.Module()
    for name, tensor in tensors.items():
        module.register_buffer(name, tensor.clone(memory_format=torch.preserve_format))
    module.register_buffer("same", module.large)
    copies = CopyStream(DEVICE)
    with copies.active():
        copies.move(module)
    for name, tensor in tensors.items():
        moved = getattr(module, name)
        assert str(moved.device) == DEVICE and moved.dtype == tensor.dtype
        assert torch.equal(moved.cpu(), tensor), name
    assert module.same is module.large


def measure(watch: CudaStopwatch, loading: bool) -> float:
    """Bytes that the stopwatch tells of a pass that takes a mebibyte."""
    measured: list[float] = []

    def work() -> None:
        torch.empty(2**20, dtype=torch.uint8, device=DEVICE)
        if loading:
            with LOADS.running():
                beside.append(torch.empty(2**24, dtype=torch.uint8, device=DEVICE))

    beside: list[torch.Tensor] = []
    watch.time(work, lambda seconds, memory: measured.append(memory))
    watch.settle(0)
    return measured[0]


def test_memory_of_a_pass_is_not_measured_beside_a_load() -> None:
    watch = CudaStopwatch(DEVICE)
    assert measure(watch, loading=False) == 2**20
    assert measure(watch, loading=True) == 0, "unknown"
    with LOADS.running():
        assert measure(watch, loading=False) == 0
    assert measure(watch, loading=False) == 2**20
