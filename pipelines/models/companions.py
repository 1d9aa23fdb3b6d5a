"""Models that look at what a device has made: read once, and never given up if they lie beside it.

Knows checkpoints, pixels, and that calls meet as a decoder's do; not what is looked for, nor who
asks.
"""

import logging
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch

from pipelines.core import ModelUnavailable
from pipelines.lanes.joins import Join, Stage
from pipelines.lanes.memory import Memory
from pipelines.lanes.rendezvous import Rendezvous
from pipelines.models.checkpoints import read_checkpoint
from pipelines.models.footprints import size_of_one
from pipelines.scheduling.trouble import forget_frames

_JOIN = Join("pixel_values", stage=Stage.DECODE)
_DTYPE = "float32"

log = logging.getLogger(__name__)


class Parts(NamedTuple):
    """What is read of a checkpoint."""

    model: torch.nn.Module
    processor: Any
    labels: list[Any]
    """What its answers mean."""


class Onlooker(ABC):
    """A model that looks at images, and is read when the first one comes."""

    key: ClassVar[str]
    """What its failures are told by."""

    def __init__(self, name: str, device: str) -> None:
        """`name` tells its weights from all others: images meet that are looked at by the same."""
        self._name = name
        self._device = device

    def look(self, pixels: torch.Tensor) -> tuple[Any, list[Any]]:
        """What the model makes of an image, (3, height, width) in [0, 1] or in 8 bits, and what
        that means.

        Raises ModelUnavailable if there are no weights that can be read.
        """
        if isinstance(self._parts, Exception):
            raise ModelUnavailable(f"{self.key}: {self._parts}") from self._parts
        model, processor, labels = self._parts
        if pixels.dtype != torch.uint8:
            pixels = (pixels.float() * 255).round().to(torch.uint8)
        seen = processor(images=pixels.cpu(), return_tensors="pt")["pixel_values"]
        return model(pixel_values=seen.to(self._device)), labels

    @abstractmethod
    def _read(self) -> Parts:
        """Raises whatever a broken folder makes the library raise."""

    @cached_property
    def _parts(self) -> Parts | Exception:
        try:
            parts = self._read()
        except Exception as error:
            forget_frames(error)  # it is kept, and would keep what was read
            return error
        Rendezvous(self._name, parts.model, _JOIN, Memory(0))
        return parts


class Companion(Onlooker):
    """One checkpoint on one device, whose size is set aside before there is room for a model.

    Its `key` is where weights.yaml names it.
    """

    def __init__(self, folder: Path, device: str) -> None:
        super().__init__(f"{self.key}-{folder.name}", device)
        self._folder = folder

    @property
    def size(self) -> int:
        """Bytes of its weights on the device; 0 for files that cannot be read."""
        return size_of_one(self._folder, _DTYPE)

    def prepare(self) -> None:
        """Read the weights, once; a failure is logged here, and raised to whoever needs them."""
        if isinstance(self._parts, Exception):
            log.error("%s: %s could not be loaded: %s", self.key, self._folder, self._parts)

    def _checkpoint(self, kind: Any) -> tuple[Any, Any]:
        """The model, of a class of transformers, and its processor of images."""
        from transformers import AutoImageProcessor

        dtype = getattr(torch, _DTYPE)
        return read_checkpoint(kind, AutoImageProcessor, self._folder, dtype, self._device)
