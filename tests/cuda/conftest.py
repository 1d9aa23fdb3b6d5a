"""Tests of the CUDA paths, on pretended devices.

`make test-cuda` runs them all. `make test` runs the quick ones in processes of their own
(`tests/test_on_cuda.py`).
"""

from collections.abc import Iterator

import pytest
import torch

from tests.support.devices import DEVICE, MEMORY


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if DEVICE.startswith("cuda"):
        return
    mark = pytest.mark.skip(reason="requires DARKROOM_TEST_DEVICE=cuda:0, as in `make test-cuda`")
    for item in items:
        if "tests/cuda/" in str(item.path):
            item.add_marker(mark)


@pytest.fixture(autouse=True)
def _fresh_devices() -> Iterator[None]:
    """No grad mode, as in a worker, and devices without the faults of the test before."""
    from tests.support import pretend_cuda

    torch.set_grad_enabled(False)
    torch.cuda.set_device(0)
    yield
    torch.set_grad_enabled(True)
    pretend_cuda.failures.clear()
    for card in pretend_cuda.cards:
        card.lost = card.doomed = None
        card.total, card.taken, card.fraction = MEMORY, 0, 1.0
    pretend_cuda.settings.pace = 0.0
    pretend_cuda.settings.record_lines = False
