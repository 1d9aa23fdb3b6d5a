"""Every family in its published dtype and in float16: images as on the CPU, and no waits."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.core import Job
from pipelines.models.loader import Resident
from tests.cuda.variants import (
    VARIANTS,
    jobs_of,
    load_variant,
    rig,
    small_qwen_edits,
    waits_per_step,
)
from tests.pipelines.conftest import Rig

ROUNDING = 2.5
"""The largest mean difference, in 255ths, of images whose kernels round otherwise: in other
batches, and with memory that is aligned otherwise. Tiny models of random weights amplify it."""


@pytest.fixture(autouse=True, scope="module")
def _small() -> Iterator[None]:
    with small_qwen_edits():
        yield


def distance(one: Rig, other: Rig, jobs: list[Job]) -> float:
    return max(float(np.abs(one.pixels(job) - other.pixels(job)).mean()) for job in jobs)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", VARIANTS)
def test_makes_the_images_of_the_cpu_without_waits(
    name: str, dtype: str, tiny_models: Path
) -> None:
    jobs = jobs_of(name)
    if dtype == "float16":  # one of each task
        jobs = [job for job in jobs if job.task != "text2img" or job.id == "text"]
    on_cpu = load_variant(name, tiny_models, "cpu", dtype)
    on_cuda = load_variant(name, tiny_models, "cuda:0", dtype)
    truth, alone, batched = (
        rig(name, on_cpu, "cpu"), rig(name, on_cuda, "cuda:0"), rig(name, on_cuda, "cuda:0")
    )  # fmt: skip
    for job in jobs:
        truth.run(job)
        alone.run(job)
    assert distance(alone, truth, jobs) <= ROUNDING
    batched.run(*jobs)
    assert distance(batched, truth, jobs) <= ROUNDING
    if dtype == "float16":
        return
    for task in VARIANTS[name].tasks:
        job = next(job for job in jobs if job.task == task)
        assert waits_per_step(alone, job) == ({}, {}), task


def weights_of(resident: Resident) -> list[tuple[torch.dtype, torch.device, int]]:
    modules = [m for m in resident.pipe.components.values() if isinstance(m, torch.nn.Module)]
    return [
        (tensor.dtype, tensor.device, tensor.data_ptr())
        for module in modules
        for tensor in (*module.parameters(), *module.buffers())
    ]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["sdxl", "flux", "klein"])
def test_cancelling_at_any_call_harms_no_later_image(
    name: str, dtype: str, tiny_models: Path
) -> None:
    resident = load_variant(name, tiny_models, "cuda:0", dtype)
    before = weights_of(resident)
    first = rig(name, resident, "cuda:0")
    for task in VARIANTS[name].tasks:
        job = next(job for job in jobs_of(name) if job.task == task)
        first.run(job)
        calls, cancelled = len(first.passes), rig(name, resident, "cuda:0")
        for number in range(calls):
            cancelled.engine.submit(replace(job, id=f"{number}"))
            for _ in range(number):
                cancelled.engine.step()
            cancelled.engine.cancel(f"{number}")
            assert cancelled.engine.lanes == 0
            assert weights_of(resident) == before, f"after call {number} of {task}"
        again = rig(name, resident, "cuda:0")
        again.run(job)
        assert distance(again, first, [job]) <= ROUNDING
        first.passes.clear()
