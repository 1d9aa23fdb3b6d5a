"""A single model of transformers, as all of them are read: from here alone, safetensors, no code.

Knows folders and how the library is told; not what a model is for.
"""

from pathlib import Path
from typing import Any

import torch

from pipelines.weights.verify import require_trusted


def read_checkpoint(
    kind: Any, helper: Any, folder: Path, dtype: torch.dtype, device: str
) -> tuple[Any, Any]:
    """A model on a device, and what prepares its input; by their classes: `kind`, `helper`.

    Raises WeightsError for what must not be loaded, and whatever the library raises.
    """
    require_trusted(folder)
    local = {"local_files_only": True, "trust_remote_code": False}
    prepares = helper.from_pretrained(folder, **local)
    model = kind.from_pretrained(folder, dtype=dtype, use_safetensors=True, **local)
    return model.eval().to(device), prepares
