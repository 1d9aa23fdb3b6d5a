"""A device that runs out of memory outside a pass, and memory that comes back."""

import gc
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.core import DoesNotFit, Image
from pipelines.lanes.lanes import current_lane
from tests.cuda.box import Box, a_job, models
from tests.support import pretend_cuda


def fail_outside_passes(job_id: str, times: int) -> None:
    """Have the next operations of a job's own pipeline code run out of memory."""

    def in_lane(func: Any, args: Any) -> bool:
        lane = current_lane()
        return lane is not None and lane.job.id == job_id and "aten::mul" in func._schema.name

    error = torch.OutOfMemoryError("CUDA out of memory.")
    pretend_cuda.failures.extend([(in_lane, error)] * times)


@pytest.fixture(scope="module")
def truth(tiny_models: Path) -> Box:
    box = Box("cpu", models(tiny_models, "sd"))
    box.run(a_job("sd", "job", previews=1), a_job("sd", "other", seed=2, steps=6))
    return box


def test_gives_up_idle_models_and_begins_again(tiny_models: Path, truth: Box) -> None:
    box = Box("cuda:0", models(tiny_models, "sd", "flux"))
    box.run(a_job("flux", "idle"), a_job("sd", "warm-up"))
    fail_outside_passes("job", 1)
    box.run(a_job("sd", "job", previews=1))
    assert not pretend_cuda.failures
    assert box.pool.resident == ["sd"]
    assert box.distance(truth, "job") <= 1
    assert [preview.index for preview in box.previews["job"]] == [0]


def test_gets_the_device_for_itself_when_others_are_in_its_way(
    tiny_models: Path, truth: Box
) -> None:
    box = Box("cuda:0", models(tiny_models, "sd"))
    box.run(a_job("sd", "warm-up"))
    fail_outside_passes("job", 1)
    lanes: list[set[str]] = []
    other, late = a_job("sd", "other", seed=2, steps=6), a_job("sd", "late", seed=3)
    box.run(other, a_job("sd", "job"), late, each=lambda: lanes.append(set(box.engine._lanes)))
    assert box.distance(truth, "other", "job") <= 1
    assert isinstance(box.outcomes["late"], Image)
    assert {"job"} in lanes, "it never had the device for itself"
    assert {"job", "other"} not in lanes[lanes.index({"job"}) :]


def test_tells_a_size_when_nothing_helps(tiny_models: Path) -> None:
    box = Box("cuda:0", models(tiny_models, "sd"))
    box.run(a_job("sd", "warm-up"))
    fail_outside_passes("job", 10)
    box.run(a_job("sd", "job", width=128, height=128))
    assert box.outcomes["job"].args == DoesNotFit(64, 64).args
    pretend_cuda.failures.clear()
    box.run(a_job("sd", "later"))
    assert isinstance(box.outcomes["later"], Image)


@pytest.mark.parametrize("family", ["qwen", "flux", "zimage"])
def test_a_model_that_is_given_up_leaves_nothing(tiny_models: Path, family: str) -> None:
    gc.collect()
    before = pretend_cuda.cards[0].live
    box = Box("cuda:0", models(tiny_models, family))
    box.run(a_job(family, "job"))
    assert pretend_cuda.cards[0].live > before
    box.pool.evict(())
    box.residence._memory.forget(lambda key: True)
    box.outcomes.clear()
    gc.collect()
    assert pretend_cuda.cards[0].live - before < 4096
