"""Cutting out what an image shows: what a segmentation model takes for background becomes clear.

Knows transformers' models for semantic segmentation and what their labels are called; not which
jobs are cut out. Its calls meet as a decoder's do.
"""

import logging
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from pipelines.core import ModelUnavailable
from pipelines.lanes.joins import Join, Stage
from pipelines.lanes.memory import Memory
from pipelines.lanes.rendezvous import Rendezvous
from pipelines.models.footprints import size_of_one
from pipelines.weights.verify import require_trusted

BACKGROUND = "background"
"""In the name of every label that is not part of what an image shows."""

_JOIN = Join("pixel_values", stage=Stage.DECODE)

log = logging.getLogger(__name__)


class Matting:
    """One checkpoint on one device, a companion of its models: read when it is prepared."""

    def __init__(self, folder: Path, device: str) -> None:
        self._folder = folder
        self._device = device

    @property
    def size(self) -> int:
        """Bytes of its weights on the device; 0 for files that cannot be read."""
        return size_of_one(self._folder, "float32")

    def prepare(self) -> None:
        """Read the weights, once; a failure is logged here, and raised to whoever needs them."""
        if isinstance(self._parts, Exception):
            log.error("the matting model %s could not be loaded: %s", self._folder, self._parts)

    def alpha(self, pixels: torch.Tensor) -> torch.Tensor:
        """(3, height, width) in [0, 1] -> (1, height, width): 1 what is shown, 0 the background.

        Raises ModelUnavailable if there are no weights that can be read.
        """
        if isinstance(self._parts, Exception):
            raise ModelUnavailable(f"matting: {self._parts}") from self._parts
        processor, model, clear = self._parts
        eight_bits = (pixels.float() * 255).round().to(torch.uint8).cpu()
        seen = processor(images=eight_bits, return_tensors="pt")["pixel_values"]
        logits = model(pixel_values=seen.to(self._device)).logits.float()
        size = tuple(pixels.shape[1:])
        logits = torch.nn.functional.interpolate(logits, size, mode="bilinear")
        if not clear:
            return logits[0].sigmoid()
        return 1 - logits[0].softmax(dim=0)[clear].sum(dim=0, keepdim=True)

    @cached_property
    def _parts(self) -> tuple[Any, Any, list[int]] | Exception:
        """Processor, model, and the labels of the background; or why there are none."""
        try:
            return self._load()
        except Exception as error:  # whatever a broken folder makes the library raise
            return error

    def _load(self) -> tuple[Any, Any, list[int]]:
        from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

        require_trusted(self._folder)
        local = {"local_files_only": True, "trust_remote_code": False}
        processor = AutoImageProcessor.from_pretrained(self._folder, **local)
        model = AutoModelForSemanticSegmentation.from_pretrained(
            self._folder, dtype=torch.float32, use_safetensors=True, **local
        )
        labels = model.config.id2label
        clear = [index for index, name in labels.items() if BACKGROUND in name.lower()]
        if not clear and len(labels) > 1:
            raise ValueError(f"none of its labels is called '{BACKGROUND}'")
        model.eval().to(self._device)
        Rendezvous(f"matting-{self._folder.name}", model, _JOIN, Memory(0))
        return processor, model, clear
