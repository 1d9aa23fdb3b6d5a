"""Tests of the CUDA paths, on pretended devices.

`make test-cuda` runs them all. `make test` runs the quick ones in processes of their own
(`tests/test_on_cuda.py`).
"""

import json
from collections.abc import Iterator
from pathlib import Path

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


@pytest.fixture(autouse=True, scope="module")
def _no_grad() -> Iterator[None]:
    """As in a worker, also for fixtures that run an engine."""
    torch.set_grad_enabled(False)
    yield
    torch.set_grad_enabled(True)


@pytest.fixture(autouse=True)
def _fresh_devices() -> Iterator[None]:
    """Devices without the faults of the test before."""
    from tests.support import pretend_cuda

    torch.cuda.set_device(0)
    yield
    pretend_cuda.failures.clear()
    for card in pretend_cuda.cards:
        card.lost = card.doomed = None
        card.total, card.taken, card.fraction = MEMORY, 0, 1.0
    pretend_cuda.settings.pace = 0.0
    pretend_cuda.settings.record_lines = False


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the tiny model of each family."""
    from tests import tiny

    folder = tmp_path_factory.mktemp("tiny-on-cuda")
    for family in tiny.FAMILIES:
        tiny.build(family, folder)
        config = folder / family / "vae" / "config.json"
        told = json.loads(config.read_text())
        if "force_upcast" in told:  # as in the published models
            config.write_text(json.dumps(told | {"force_upcast": True}))
    return folder
