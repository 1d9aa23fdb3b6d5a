"""Runs the quick tests of the CUDA paths, in processes of their own.

Pretending a device changes torch for the whole process.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GROUPS = {
    "pretence": ["tests/cuda/test_pretence.py", "tests/cuda/test_finite.py"],
    "loading": ["tests/cuda/test_loading.py", "tests/cuda/test_device_errors.py"],
    "engine": [
        "tests/cuda/test_out_of_memory.py",
        "tests/cuda/test_streamed.py::test_is_batched_after_its_first_pass[group]",
        "tests/cuda/test_streamed.py::test_wears_loras_as_the_whole_model_does[sd]",
        "tests/cuda/test_noise_schedulers.py::test_makes_the_images_of_the_cpu_without_waits[sdxl-turbo]",
        "tests/cuda/test_families.py::test_makes_the_images_of_the_cpu_without_waits[sdxl-bfloat16]",
    ],
}


@pytest.mark.timeout(1200)  # for a process of many tests, each of which has its own limit
@pytest.mark.parametrize("paths", GROUPS.values(), ids=GROUPS)
def test_passes_on_a_pretended_cuda_device(paths: list[str]) -> None:
    from tests.support import pretend_cuda

    if (reason := pretend_cuda.missing()) is not None:
        pytest.skip(reason)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-x", *paths]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    ran = subprocess.run(
        command,
        cwd=ROOT,
        env=inherited | {"DARKROOM_TEST_DEVICE": "cuda:0", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
    assert " skipped" not in ran.stdout.splitlines()[-1], ran.stdout[-2000:]
