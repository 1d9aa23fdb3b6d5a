"""Runs the audit of a single file in a process of its own: the commands do not load torch."""

import subprocess
import sys
from pathlib import Path

from pipelines.models.checkpoint_keys import require_readable
from pipelines.weights.layout import INDEX
from pipelines.weights.manifest import WeightsError
from pipelines.weights.safety import require_safetensors

_AUDIT = "pipelines.models.checkpoint_audit"


def require_usable(file: Path, config: Path) -> bool:
    """Raise WeightsError unless a model like the one in `config` uses all that is in a file.

    False if `config` is not there, so that only the formats in the file could be checked.
    """
    if file.suffix == ".safetensors":
        require_safetensors(file)
        require_readable(file)
    if not (config / INDEX).is_file():
        return False
    command = [sys.executable, "-m", _AUDIT, str(file), str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise WeightsError(lines[-1] if lines else f"{file.name} could not be checked")
    return True
