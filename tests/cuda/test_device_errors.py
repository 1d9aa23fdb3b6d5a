"""Errors of CUDA that a device survives cost at most a job; others end the worker."""

import pytest
import torch

from pipelines.models.budgets import available_memory, bound_allocator
from pipelines.scheduling.stopwatch import CudaStopwatch
from pipelines.scheduling.trouble import DeviceLost, is_device_lost, require_device
from tests.support import pretend_cuda

DEVICE = "cuda:0"
CUBLAS = "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx(...)`"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(CUBLAS),
        RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"),
        torch.AcceleratorError("CUDA error: invalid configuration argument"),
    ],
)
def test_device_that_still_answers_is_not_lost(error: Exception) -> None:
    require_device(error)
    pretend_cuda.cards[0].lost = "unspecified"
    assert is_device_lost(error)
    with pytest.raises(DeviceLost):
        require_device(error)


def test_error_that_spoils_the_context_is_believed() -> None:
    assert is_device_lost(torch.AcceleratorError("CUDA error: an illegal memory access"))


def test_error_of_a_device_is_found_behind_another_one() -> None:
    pretend_cuda.cards[0].lost = "unspecified"
    error = ValueError("no pixels")
    error.__cause__ = RuntimeError(CUBLAS)
    with pytest.raises(DeviceLost):
        require_device(error)


def test_share_of_another_process_is_not_allocated() -> None:
    total = pretend_cuda.cards[0].total
    free = CudaStopwatch(DEVICE).free()
    bound_allocator(DEVICE, aside=0)
    assert CudaStopwatch(DEVICE).free() == free
    bound_allocator(DEVICE, aside=total // 2)
    assert CudaStopwatch(DEVICE).free() <= total // 2
    with pytest.raises(torch.OutOfMemoryError):
        torch.empty(total // 2, dtype=torch.uint8, device=DEVICE)


def test_memory_that_others_use_is_not_available() -> None:
    card = pretend_cuda.cards[0]
    assert available_memory(DEVICE) == card.total - card.reserved
    card.taken = 3 * 2**30
    assert available_memory(DEVICE) == card.total - card.taken - card.reserved
    assert available_memory(DEVICE, aside=2**30) == card.total - 2 * 2**30 - card.reserved


def test_memory_that_a_dead_process_gives_back_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    card = pretend_cuda.cards[0]
    card.taken = 4 * 2**30

    def sleep(seconds: float) -> None:
        card.taken = max(0, card.taken - 2**31)

    monkeypatch.setattr("pipelines.models.budgets.time.sleep", sleep)
    assert available_memory(DEVICE) == card.total - card.reserved
