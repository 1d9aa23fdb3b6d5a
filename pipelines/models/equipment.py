"""What an aide's models take of the device that they share with image models, in bytes.

Told by the headers of their files, before any is read. Knows folders; not what is asked of them.
"""

from pipelines.models.budgets import settle
from pipelines.models.footprints import size_of_one
from pipelines.questions import Equip

BESIDE = 2**30
"""Of a CUDA device, beside the weights: what a process takes, and the texts that it works on."""


def dtype_on(device: str) -> str:
    """What language models are computed in: on a CPU, half the width is no faster."""
    return "bfloat16" if device.startswith("cuda") else "float32"


def bytes_taken(equip: Equip, device: str) -> int:
    """What an aide with this equipment takes of a device: nothing, where it has another one."""
    folders = [*equip.judges.values(), *([equip.writer] if equip.writer else [])]
    viewer = equip.viewer.folder if equip.viewer else None
    if not (folders or viewer) or settle(equip.device)[0] != device:
        return 0
    beside = BESIDE if device.startswith("cuda") else 0
    if viewer:
        beside += size_of_one(viewer, "float32")
    return beside + sum(size_of_one(folder, dtype_on(device)) for folder in folders)
