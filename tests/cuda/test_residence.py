"""Models on a device, beside each other and on the second device, and devices that fail."""

import gc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.core import DoesNotFit, Image, Job
from pipelines.models.footprints import size_of
from pipelines.scheduling.trouble import DeviceLost
from tests.cuda.box import Box, a_job, models
from tests.support import pretend_cuda

THREE = ("sd", "flux", "sd3")


def live() -> int:
    gc.collect()
    return pretend_cuda.cards[0].live


def test_models_that_take_turns_wait_in_the_hosts_memory(tiny_models: Path) -> None:
    them = models(tiny_models, *THREE)
    footprint = Box("cuda:0", them).residence.footprint
    budget = size_of(*map(footprint, THREE)) - 1
    box, truth = Box("cuda:0", them, budget, host_memory=0.2), Box("cpu", them)
    order = ("sd", "flux", "sd3", "sd", "flux")
    jobs = [a_job(model, f"{number}", seed=number) for number, model in enumerate(order)]
    for job in jobs:
        box.run(job)
        kept = box.residence._shelf._keeper._kept.values()  # type: ignore[union-attr]
        for module, _ in kept:
            tensors = [*module.parameters(), *module.buffers()]
            assert {str(tensor.device) for tensor in tensors} <= {"cpu"}
            assert all(map(pretend_cuda.is_pinned, tensors))
    truth.run(*jobs)
    assert box.distance(truth) <= 1
    assert box.pool.evictions >= 2


def test_nothing_of_a_job_stays_on_the_device(tiny_models: Path) -> None:
    box = Box("cuda:0", models(tiny_models, "sd", "flux"))
    for model in ("sd", "flux"):
        box.run(a_job(model, f"{model} warm-up", previews=1))
        taken = []
        for seed in range(3):
            box.run(a_job(model, f"{model} {seed}", seed=seed, previews=1))
            taken.append(pretend_cuda.cards[0].live)
        assert max(taken) - min(taken) < 2048


def test_a_merged_pass_that_does_not_fit_is_run_in_halves(tiny_models: Path) -> None:
    them = models(tiny_models, "flux")
    jobs = [a_job("flux", f"{seed}", seed=seed, prompt=f"fox {seed}") for seed in range(8)]
    truth, box = Box("cpu", them), Box("cuda:0", them)
    truth.run(*jobs)
    box.run(a_job("flux", "warm-up"))
    card, base = pretend_cuda.cards[0], live()
    card.peak = base
    box.run(*(replace(job, id=f"unlimited {job.id}") for job in jobs))
    box.residence._memory.forget(lambda key: True)
    tally = box.engine.passes.tally.passes
    tally.clear()
    card.total = base + int(0.75 * (card.peak - base))
    box.run(*jobs)
    assert box.distance(truth, *(job.id for job in jobs)) <= 1
    assert tally.get(4), "no pass was run in halves"


def test_a_size_that_does_not_fit_fails_alone(tiny_models: Path) -> None:
    box = Box("cuda:0", models(tiny_models, "sd", "flux"))
    box.run(a_job("sd", "warm-up"), a_job("flux", "other"))
    card, base = pretend_cuda.cards[0], live()
    card.peak, total = base, card.total
    box.run(a_job("sd", "large", width=128, height=128))
    need = card.peak - base
    for share in (0.6, 0.2):
        card.total = live() + int(share * need)
        box.run(a_job("sd", f"at {share}", width=128, height=128, seed=3))
        assert isinstance(box.outcomes[f"at {share}"], Image | DoesNotFit)
        card.total = total
    box.run(a_job("sd", "after"), a_job("flux", "after flux"))
    assert isinstance(box.outcomes["after"], Image)
    assert isinstance(box.outcomes["after flux"], Image)


def _convolution_fails(func: Any, args: Any) -> bool:
    return "convolution" in func._schema.name


@pytest.mark.parametrize("when", ["at the next wait", "in a pass"])
def test_a_lost_device_ends_the_engine(tiny_models: Path, when: str) -> None:
    box = Box("cuda:0", models(tiny_models, "sd"))
    box.run(a_job("sd", "warm-up"))
    if when == "in a pass":
        error = pretend_cuda.cuda_error("unspecified launch failure")
        pretend_cuda.failures.append((_convolution_fails, error))
    else:
        pretend_cuda.cards[0].doomed = "an illegal memory access was encountered"
    with pytest.raises(DeviceLost):
        box.run(a_job("sd", "job", previews=1))


def _weights_on(box: Box, model: str) -> set[str]:
    modules = [m for m in box.pipe(model).components.values() if isinstance(m, torch.nn.Module)]
    return {str(w.device) for m in modules for w in (*m.parameters(), *m.buffers())}


@pytest.mark.parametrize("offload", ["none", "group"])
def test_nothing_of_the_second_device_is_on_the_first(tiny_models: Path, offload: str) -> None:
    torch.cuda.set_device(1)  # as its worker does
    before = pretend_cuda.cards[0].allocations
    them = models(tiny_models, "sd", "flux", offload=offload)
    jobs: list[Job] = [a_job(model, model, previews=1) for model in ("sd", "flux")]
    box, truth = Box("cuda:1", them), Box("cpu", them)
    box.run(*jobs)
    truth.run(*jobs)
    assert box.distance(truth) <= 1
    assert pretend_cuda.cards[0].allocations == before
    places = {"cuda:1"} if offload == "none" else {"cuda:1", "cpu"}
    assert _weights_on(box, "sd") | _weights_on(box, "flux") == places
