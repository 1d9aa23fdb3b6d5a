"""The pretended CUDA device behaves as a real one."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from tests.support import pretend_cuda


def ones() -> torch.Tensor:
    return torch.ones(3).to("cuda")


def generator(device: str) -> torch.Generator:
    return torch.Generator(device).manual_seed(1)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, device="cuda")


WORKS: dict[str, Callable[[], torch.Tensor]] = {
    "empty": lambda: torch.empty(3, device="cuda"),
    "tensor": lambda: torch.tensor([1.0, 2.0], device="cuda:1"),
    "as_tensor": lambda: torch.as_tensor([1.0], device="cuda"),
    "arange": lambda: torch.arange(3, device="cuda"),
    "linspace": lambda: torch.linspace(0, 1, 3, device="cuda"),
    "randn": lambda: torch.randn(3, device="cuda", generator=generator("cuda")),
    "half": lambda: ones().half(),
    "view": lambda: ones().view(3, 1),
    "sum": lambda: ones().sum(),
    "new_tensor": lambda: ones().new_tensor([1, 2]),
    "zeros_like": lambda: torch.zeros_like(ones()),
    "scalar of the host": lambda: ones() * torch.tensor(2.0),
    "indices of the host": lambda: ones()[torch.tensor([0, 1])],
    "mask": lambda: ones()[ones() > 0],
    "where": lambda: torch.where(ones() > 0, ones(), torch.tensor(0.0)),
    "attention": lambda: scaled_dot_product_attention(*[random(1, 2, 4, 8)] * 3),
    "convolution": lambda: torch.nn.Conv2d(3, 4, 3).cuda()(random(1, 3, 8, 8)),
    "cuda": lambda: torch.ones(2).cuda(1),
    "to a number": lambda: torch.ones(2).to(1),
    "parameter": lambda: torch.nn.Parameter(ones(), False),
    "deepcopy": lambda: copy.deepcopy(ones()),
}
REFUSED: dict[str, tuple[Callable[[], object], type[Exception]]] = {
    "host and device": (lambda: ones() + torch.ones(3), RuntimeError),
    "two devices": (lambda: ones() + ones().to("cuda:1"), RuntimeError),
    "cat": (lambda: torch.cat([ones(), torch.ones(1)]), RuntimeError),
    "embedding": (lambda: torch.nn.Embedding(3, 4).cuda()(torch.tensor([1])), RuntimeError),
    "scalar of the device": (lambda: torch.ones(3) * ones()[0], RuntimeError),
    "in place into the host": (lambda: torch.ones(3).add_(ones()), RuntimeError),
    "host indexed by the device": (
        lambda: torch.ones(3)[torch.tensor([0, 1], device="cuda")],
        RuntimeError,
    ),
    "numpy": (lambda: ones().numpy(), TypeError),
    "np.array": (lambda: np.array(ones()), TypeError),
    "generator of the host": (
        lambda: torch.randn(3, device="cuda", generator=generator("cpu")),
        RuntimeError,
    ),
    "no such device": (lambda: torch.cuda.set_device("cuda:7"), RuntimeError),
}


@pytest.mark.parametrize("make", WORKS.values(), ids=WORKS)
def test_makes_tensors_of_the_device(make: Callable[[], torch.Tensor]) -> None:
    assert make().device.type == "cuda"


@pytest.mark.parametrize(("make", "error"), REFUSED.values(), ids=REFUSED)
def test_refuses_what_cuda_refuses(make: Callable[[], object], error: type[Exception]) -> None:
    with pytest.raises(error):
        make()


def test_reading_a_value_counts_as_a_wait() -> None:
    values = ones()
    pretend_cuda.waits.clear()
    assert values[0].item() == 1.0 and values.tolist() == [1.0] * 3 and bool(values.sum() > 1)
    assert pretend_cuda.waits == {"item": 2, "d2h": 1}


def test_views_share_memory_and_operations_in_place_keep_their_tensor() -> None:
    values = ones()
    view = values.view(3, 1)
    values.mul_(2)
    assert view.cpu().tolist() == [[2.0]] * 3
    assert values.add_(1) is values


def test_parameters_keep_their_identity_and_memory_is_counted_once() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
    module[1].weight = module[0].weight
    weight, before = module[0].weight, pretend_cuda.cards[0].live
    module.to("cuda")
    assert module[0].weight is weight is module[1].weight
    assert weight.is_cuda and isinstance(weight, torch.nn.Parameter)
    assert pretend_cuda.cards[0].live - before == 3 * 512
    module.to("cpu")
    assert type(weight) is torch.nn.Parameter
    assert pretend_cuda.cards[0].live == before
    weight.data = torch.ones(4, 4).cuda()
    assert module[1].weight.is_cuda and not module[0].bias.is_cuda


def test_a_device_context_holds_for_factories_and_modules() -> None:
    with torch.device("cuda"):
        assert torch.zeros(2).is_cuda and torch.nn.Linear(2, 2).weight.is_cuda


def test_a_copy_without_blocking_arrives_when_the_host_waits() -> None:
    host = torch.empty(3, pin_memory=True)
    host.copy_(ones(), non_blocking=True)
    assert host.tolist() != [1.0] * 3
    torch.cuda.synchronize()
    assert host.tolist() == [1.0] * 3
    assert host.is_pinned() and host[1:].is_pinned()


def test_an_event_has_a_time_once_the_host_has_waited() -> None:
    begun, ended = torch.cuda.Event(True), torch.cuda.Event(True)
    begun.record()
    ended.record()
    with pytest.raises(torch.AcceleratorError, match="not ready"):
        begun.elapsed_time(ended)
    ended.synchronize()
    assert begun.elapsed_time(ended) >= 0


def test_more_memory_than_there_is_is_refused() -> None:
    pretend_cuda.cards[0].total = 2**20
    with pytest.raises(torch.OutOfMemoryError):
        torch.empty(2**20, device="cuda")


def test_memory_is_counted_while_tensors_live() -> None:
    before = pretend_cuda.cards[0].live
    large = torch.empty(2**20, device="cuda")
    assert torch.cuda.memory_allocated() - before == 2**22
    del large
    assert pretend_cuda.cards[0].live == before
    assert torch.cuda.max_memory_allocated() >= before + 2**22


def test_a_lost_device_refuses_everything() -> None:
    values = ones()
    pretend_cuda.cards[0].doomed = "an illegal memory access was encountered"
    values + 1  # nothing is known yet
    for call in (torch.cuda.synchronize, lambda: values + 1):
        with pytest.raises(torch.AcceleratorError):
            call()
