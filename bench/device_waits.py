"""How often the host waits for its device in a step, beside the stopwatch's wait for a pass.

    python -m bench.device_waits [NAME ...]

Counted on a pretended CUDA device (`tests/support/pretend_cuda`), with tiny models of every family
and with the noise schedulers of published models.
"""

import copy
import sys
import tempfile
from pathlib import Path

from tests.support import devices

devices.DEVICE = "cuda:0"
if (reason := devices.prepare()) is not None:
    sys.exit(reason)

import torch  # noqa: E402

from tests import tiny  # noqa: E402
from tests.cuda.test_noise_schedulers import PUBLISHED  # noqa: E402
from tests.cuda.variants import (  # noqa: E402
    VARIANTS,
    jobs_of,
    load_variant,
    rig,
    small_qwen_edits,
    waits_per_step,
)


def main() -> None:
    """Print a line for each model and task."""
    torch.set_grad_enabled(False)
    chosen = sys.argv[1:] or [*PUBLISHED, *VARIANTS]
    with tempfile.TemporaryDirectory() as folder, small_qwen_edits():
        for family in {VARIANTS[_family(name)].family for name in chosen}:
            tiny.build(family, Path(folder))
        for name in chosen:
            for task, count in _waits(name, Path(folder)).items():
                print(f"{name} {task}: {count:g}", flush=True)


def _family(name: str) -> str:
    return PUBLISHED[name][0] if name in PUBLISHED else name


def _waits(name: str, folder: Path) -> dict[str, float]:
    family = _family(name)
    resident = load_variant(family, folder, "cuda:0", "float32")
    if name in PUBLISHED:
        resident.pipe.register_modules(scheduler=copy.deepcopy(PUBLISHED[name][1]))
    engine = rig(family, resident, "cuda:0")
    found = {}
    for task in VARIANTS[family].tasks:
        job = next(job for job in jobs_of(family) if job.task == task)
        engine.run(job)
        kinds, _ = waits_per_step(engine, job)
        found[str(task)] = sum(kinds.values())
    return found


if __name__ == "__main__":
    main()
