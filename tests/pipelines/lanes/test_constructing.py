"""torch's default dtype is the process's: whoever is undisturbed never sees another one."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import torch

from pipelines.core import Job
from pipelines.lanes.constructing import constructing, undisturbed
from pipelines.lanes.memory import Memory
from pipelines.models.loader import Resident, load
from pipelines.registry import Registry
from tests.pipelines.conftest import Rig


class Watcher(threading.Thread):
    """Looks at the default dtype again and again, as an engine makes steps."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.dtype] = set()
        self.looks = 0
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            with undisturbed():
                self.seen.add(torch.get_default_dtype())
                time.sleep(0)
                self.seen.add(torch.get_default_dtype())
            self.looks += 1


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    watcher = Watcher()
    watcher.start()
    yield watcher
    watcher.over.set()
    watcher.join(30)
    assert not watcher.is_alive()


def test_only_what_is_between_is_kept_apart(watcher: Watcher) -> None:
    with constructing():
        for _ in range(20):
            torch.set_default_dtype(torch.bfloat16)
            apart = watcher.looks
            time.sleep(0.001)
            assert watcher.looks == apart, "nobody is undisturbed now"
            torch.set_default_dtype(torch.float32)
            before, patience = watcher.looks, time.monotonic() + 30
            while watcher.looks == before and time.monotonic() < patience:
                time.sleep(0.0001)
            assert watcher.looks > before, "what takes long comes after it"
    assert watcher.seen == {torch.float32}


def test_a_library_that_fails_in_between_leaves_nothing_behind(watcher: Watcher) -> None:
    before = torch.set_default_dtype
    with pytest.raises(ValueError), constructing():
        torch.set_default_dtype(torch.float16)
        raise ValueError
    assert torch.get_default_dtype() == torch.float32
    assert torch.set_default_dtype is before
    with undisturbed():
        pass


def test_models_in_half_precision_are_loaded_so(watcher: Watcher, tiny_registry: Registry) -> None:
    set_to: list[torch.dtype] = []
    before = torch.set_default_dtype

    def recorded(dtype: torch.dtype) -> None:
        set_to.append(dtype)
        before(dtype)

    torch.set_default_dtype = recorded
    try:
        spec = tiny_registry.models["flux"].model_copy(update={"dtype": "bfloat16"})
        pipe = load(spec, tiny_registry.path("flux"), "cpu", Memory(0)).pipe
    finally:
        torch.set_default_dtype = before
    assert pipe.transformer.dtype == torch.bfloat16
    assert torch.bfloat16 in set_to, "the libraries do that still"
    assert watcher.seen == {torch.float32}


def test_lanes_wait_while_a_model_is_constructed(
    residents: dict[str, Resident], jobs: Callable[[str], list[Job]], rig: Rig
) -> None:
    job = jobs("zimage")[0]
    rig.run(job)
    begun = threading.Event()

    def construct() -> None:
        with constructing():
            torch.set_default_dtype(torch.bfloat16)
            begun.set()
            time.sleep(0.3)

    loading = threading.Thread(target=construct)
    loading.start()
    begun.wait()
    again = Rig(residents)
    again.run(job)
    loading.join()
    assert abs(again.pixels(job) - rig.pixels(job)).max() <= 1, "this family's would be another"
