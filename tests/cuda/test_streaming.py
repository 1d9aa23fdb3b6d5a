"""What streaming a model costs in waits, device memory and pinned memory of the host."""

import gc
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.messages import Begin
from pipelines.models.keeping import Keeper, keeper, pinned_size
from pipelines.models.plans import LAYERS_AT_ONCE
from pipelines.models.residence import Residence
from pipelines.models.streaming import stream
from tests.cuda.box import models
from tests.support import pretend_cuda
from tests.support.pretend_cuda import devices as state

DEVICE = "cuda:0"
LAYERS, WIDTH = 12, 256


def layers() -> torch.nn.Sequential:
    return torch.nn.Sequential(*(torch.nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(LAYERS)))


def passes(module: torch.nn.Module, count: int) -> torch.Tensor:
    inputs = torch.ones(1, WIDTH, device=DEVICE)
    for _ in range(count):
        answer = module(inputs)
    return answer


@pytest.mark.parametrize("pinned", [True, False])
def test_host_waits_once_a_layer(pinned: bool) -> None:
    whole, streamed = layers(), layers()
    streamed.load_state_dict(whole.state_dict())
    if pinned:
        keeping = keeper(DEVICE, 10**9)
        assert keeping is not None and keeping.pin(streamed, 0)
        assert all(pretend_cuda.is_pinned(it) for it in streamed.parameters())
    stream(streamed, DEVICE, pinned)
    passes(streamed, 2)
    pretend_cuda.waits.clear()
    answer = passes(streamed, 1)
    waits = pretend_cuda.waits["synchronize"] + pretend_cuda.waits["event"]
    assert LAYERS <= waits <= LAYERS + 2
    assert torch.allclose(answer.cpu(), whole(torch.ones(1, WIDTH)), atol=1e-5)


def test_host_is_at_most_a_layer_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that is behind: no event has come about until it is waited for."""
    done: Counter[str] = Counter()

    def synchronize(event: Any) -> None:
        done["waited"] += 1

    streamed = layers()
    stream(streamed, DEVICE, pinned=False)
    passes(streamed, 2)
    monkeypatch.setattr(state.Event, "query", lambda event: False)
    monkeypatch.setattr(state.Event, "synchronize", synchronize)
    passes(streamed, 1)
    assert done["waited"] >= LAYERS - LAYERS_AT_ONCE


def test_pinned_memory_counts_in_powers_of_two() -> None:
    small = [torch.empty(1000, dtype=torch.uint8) for _ in range(3)]
    assert pinned_size(small) == 4096, "one block of 3,072 bytes"
    assert pinned_size([small[0], small[0]]) == 1024, "what is tied counts once"
    assert pinned_size([torch.empty(2**28 + 1, dtype=torch.uint8, device="meta")]) == 2**29


def residence(tiny_models: Path, host_memory: float) -> Residence:
    them = models(tiny_models, "flux", offload="group")
    begin = Begin(DEVICE, them, preload=[], threads=1, host_memory=host_memory)
    return Residence(begin, 10**10)


def test_streamed_model_takes_its_part_of_the_host_s_memory(tiny_models: Path) -> None:
    box = residence(tiny_models, host_memory=0.2)
    kept = box._shelf._keeper
    assert isinstance(kept, Keeper)
    pipe = box.load("flux", [], lambda fraction: None).pipe
    weights = [*pipe.transformer.parameters(), *pipe.text_encoder_2.parameters()]
    assert all(pretend_cuda.is_pinned(it) for it in weights)
    pinned = kept._pinned
    assert pinned >= sum({id(it): it.nbytes for it in weights}.values())
    del pipe, weights
    gc.collect()
    assert kept._pinned == 0


@pytest.mark.parametrize("host_memory", [0.0, 1e-9])
def test_streamed_model_is_not_pinned_beyond_the_limit(
    tiny_models: Path, host_memory: float, caplog: pytest.LogCaptureFixture
) -> None:
    pipe = residence(tiny_models, host_memory).load("flux", [], lambda fraction: None).pipe
    assert not any(pretend_cuda.is_pinned(it) for it in pipe.transformer.parameters())
    assert "--host-memory" in caplog.text
