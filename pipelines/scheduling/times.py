"""The measured times of passes, kept on disk: by device and library versions, and by weights.

A worker that starts again knows at once what its device can do. A file that cannot be read is as
good as none; nothing here fails a job.
"""

import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path

from pipelines.scheduling.curves import Curve, Curves

SAVE_EVERY_S = 60.0

log = logging.getLogger(__name__)


class Times:
    """Where one device's times are kept; `folder` None keeps none."""

    def __init__(self, folder: Path | None, device: str) -> None:
        self._path = folder / f"{_file_name(device)}.json" if folder else None
        self._saved_at = 0.0

    def load(self) -> Curves:
        """What was measured before."""
        if self._path is None:
            return Curves()
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
            return Curves({key: _curve(values) for key, values in found.items()})
        except FileNotFoundError:
            return Curves()
        except (OSError, ValueError, TypeError, AttributeError) as error:
            log.warning("%s: measured times are not used: %s", self._path, error)
            return Curves()

    def save(self, curves: Curves, now: float, every_s: float = SAVE_EVERY_S) -> None:
        """Write them, whole or not at all, unless that was done a moment ago."""
        if self._path is None or now - self._saved_at < every_s:
            return
        self._saved_at = now
        draft = self._path.with_suffix(f".{os.getpid()}.draft")  # equal devices share a file
        try:
            draft.parent.mkdir(parents=True, exist_ok=True)
            content = {key: _values(curve) for key, curve in curves.all().items()}
            draft.write_text(json.dumps(content), encoding="utf-8")
            draft.replace(self._path)
        except OSError as error:
            log.warning("%s: measured times could not be kept: %s", self._path, error)


def device_name(address: str, threads: int | None) -> str:
    """What times depend on beside the weights: the hardware, its share, and the libraries."""
    import diffusers
    import torch

    cuda = address.startswith("cuda")
    hardware = torch.cuda.get_device_name(address) if cuda else f"cpu {threads or 'all'}"
    return f"{hardware} torch {torch.__version__} diffusers {diffusers.__version__}"


def _file_name(device: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", device)


def _values(curve: Curve) -> dict[str, object]:
    return {"seconds": curve.seconds, "cap": curve.cap, "row_bytes": curve.row_bytes}


def _curve(values: Mapping[str, object]) -> Curve:
    curve = Curve(**values)  # type: ignore[arg-type]
    seconds = {int(rows): float(measured) for rows, measured in curve.seconds.items()}
    cap = None if curve.cap is None else int(curve.cap)
    return Curve(seconds, cap, float(curve.row_bytes))
