"""Cutting out what an image shows: what a segmentation model takes for background becomes clear.

Knows transformers' models for semantic segmentation and what their labels are called; not which
jobs are cut out.
"""

import torch

from pipelines.models.companions import Companion, Parts

BACKGROUND = "background"
"""In the name of every label that is not part of what an image shows."""


class Matting(Companion):
    """A segmentation model."""

    key = "matting"

    def alpha(self, pixels: torch.Tensor) -> torch.Tensor:
        """(3, height, width) in [0, 1] or in 8 bits -> (1, height, width) in [0, 1], the opacity.

        Raises ModelUnavailable if there are no weights that can be read.
        """
        found, clear = self.look(pixels)
        size = tuple(pixels.shape[1:])
        logits = torch.nn.functional.interpolate(found.logits.float(), size, mode="bilinear")
        if not clear:
            return logits[0].sigmoid()
        return 1 - logits[0].softmax(dim=0)[clear].sum(dim=0, keepdim=True)

    def _read(self) -> Parts:
        from transformers import AutoModelForSemanticSegmentation

        model, processor = self._checkpoint(AutoModelForSemanticSegmentation)
        labels = model.config.id2label
        clear = [index for index, name in labels.items() if BACKGROUND in name.lower()]
        if not clear and len(labels) > 1:
            raise ValueError(f"none of its labels is called '{BACKGROUND}'")
        return Parts(model, processor, clear)
