"""The noise schedulers of published models: the images of the CPU, and no waits in a step."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
)

from tests.cuda.box import GRADIENT, LEFT_HALF, a_job
from tests.cuda.variants import load_variant, rig, waits_per_step

LINEAR = {"beta_schedule": "scaled_linear"}
PUBLISHED = {
    "sd-1.5": (
        "sd",
        PNDMScheduler(skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1, **LINEAR),
    ),
    "sd-2.1": (
        "sd",
        DDIMScheduler(
            prediction_type="v_prediction",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
            **LINEAR,
        ),
    ),
    "sdxl": ("sdxl", EulerDiscreteScheduler(steps_offset=1, **LINEAR)),
    "sdxl-turbo": ("sdxl", EulerAncestralDiscreteScheduler(timestep_spacing="trailing", **LINEAR)),
    "lcm": ("sd", LCMScheduler(**LINEAR)),
    "dpm++": ("sd", DPMSolverMultistepScheduler(**LINEAR)),
    "sd-3.5": ("sd3", FlowMatchEulerDiscreteScheduler(shift=3.0)),
}
TASKS: dict[str, dict[str, Any]] = {
    "text2img": {},
    "img2img": {"task": "img2img", "source": GRADIENT, "strength": 0.8},
    "inpaint": {"task": "inpaint", "source": GRADIENT, "mask": LEFT_HALF, "strength": 0.8},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_makes_the_images_of_the_cpu_without_waits(name: str, tiny_models: Path) -> None:
    family, noise_scheduler = PUBLISHED[name]
    rigs = {}
    for device in ("cpu", "cuda:0"):
        resident = load_variant(family, tiny_models, device, "float32")
        resident.pipe.register_modules(scheduler=copy.deepcopy(noise_scheduler))
        rigs[device] = rig(family, resident, device)
    for id, task in TASKS.items():
        job = replace(a_job(family, id, steps=5), **task)
        for each in rigs.values():
            each.run(job)
        apart = np.abs(rigs["cpu"].pixels(job) - rigs["cuda:0"].pixels(job))
        assert apart.max() <= 1, id
        assert waits_per_step(rigs["cuda:0"], job) == ({}, {}), id
