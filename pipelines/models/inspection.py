"""Looking at finished images: what a classifier finds in them can keep them back.

Knows transformers' image classifiers, and the safety checker that comes with Stable Diffusion; not
which images are looked at. Its calls meet as a decoder's do.
"""

import logging
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch

from pipelines.content import NSFW, Category, Classifier, is_safety_checker
from pipelines.core import Blocked, ModelUnavailable, Strictness
from pipelines.lanes.joins import Join, Stage
from pipelines.lanes.memory import Memory
from pipelines.lanes.rendezvous import Rendezvous
from pipelines.models.footprints import size_of_one
from pipelines.weights.verify import require_trusted

_JOIN = Join("pixel_values", stage=Stage.DECODE)

log = logging.getLogger(__name__)


class Inspector:
    """One checkpoint on one device, a companion of its models: read when it is prepared."""

    def __init__(self, classifier: Classifier, device: str) -> None:
        self._classifier = classifier
        self._device = device

    @property
    def size(self) -> int:
        """Bytes of its weights on the device; 0 for files that cannot be read."""
        return size_of_one(self._classifier.folder, "float32")

    def prepare(self) -> None:
        """Read the weights, once; a failure is logged here, and raised to whoever needs them."""
        if isinstance(self._parts, Exception):
            folder = self._classifier.folder
            log.error("the classifier of images %s could not be loaded: %s", folder, self._parts)

    def check(self, pixels: torch.Tensor, strictness: Strictness) -> None:
        """Raises Blocked for an image, (3, height, width) in [0, 1], that is not to be let out.

        ModelUnavailable if there are no weights that can be read: then none is.
        """
        least = self._classifier.thresholds.of(strictness)
        if found := {category for category, score in self.scores(pixels) if score >= least}:
            raise Blocked(tuple(sorted(found)))

    def scores(self, pixels: torch.Tensor) -> list[tuple[Category, float]]:
        """What is in such an image, by label; raises ModelUnavailable."""
        if isinstance(self._parts, Exception):
            raise ModelUnavailable(f"policy.images: {self._parts}") from self._parts
        processor, scores, categories = self._parts
        eight_bits = (pixels.float() * 255).round().to(torch.uint8).cpu()
        seen = processor(images=eight_bits, return_tensors="pt")["pixel_values"]
        (found,) = scores(pixel_values=seen.to(self._device)).tolist()
        return list(zip(categories, found, strict=True))

    @cached_property
    def _parts(self) -> tuple[Any, Any, list[Category]] | Exception:
        """Processor, what scores, and the category of each score; or why there are none."""
        try:
            return self._load()
        except Exception as error:  # whatever a broken folder makes the library raise
            return error

    def _load(self) -> tuple[Any, Any, list[Category]]:
        folder, labels = self._classifier.folder, self._classifier.labels
        require_trusted(folder)
        if is_safety_checker(folder):
            labels = labels or NSFW
            processor, scores = _safety_checker(folder)
        else:
            processor, scores = _classifier(folder, list(labels))
        scores.eval().to(self._device)
        Rendezvous(f"inspection-{folder.name}", scores, _JOIN, Memory(0))
        return processor, scores, list(labels.values())


class _Scores(torch.nn.Module):
    """Pixels (rows, 3, height, width) -> (rows, labels), the score of each label, 0 to 1."""

    def __init__(self, model: torch.nn.Module, labels: Sequence[int]) -> None:
        super().__init__()
        self._model, self._labels = model, list(labels)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        logits = self._model(pixel_values=pixel_values).logits.float()
        config: Any = self._model.config
        several = config.problem_type == "multi_label_classification" or logits.shape[1] == 1
        scores = logits.sigmoid() if several else logits.softmax(dim=1)
        chosen: torch.Tensor = scores[:, self._labels]
        return chosen


class _Verdicts(torch.nn.Module):
    """The same of a safety checker, whose only score is 0 or 1."""

    def __init__(self, checker: torch.nn.Module) -> None:
        super().__init__()
        self._checker = checker

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        nothing = torch.zeros(len(pixel_values), 1)  # what it would paint over
        _, found = self._checker(clip_input=pixel_values, images=nothing)
        return torch.tensor(found, dtype=torch.float32).view(-1, 1)


_LOCAL = {"local_files_only": True}


def _classifier(folder: Any, labels: list[str]) -> tuple[Any, torch.nn.Module]:
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False, **_LOCAL)
    model = AutoModelForImageClassification.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, **_LOCAL
    )
    known = {name: index for index, name in model.config.id2label.items()}
    return processor, _Scores(model, [known[name] for name in labels])


def _safety_checker(folder: Any) -> tuple[Any, torch.nn.Module]:
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False, **_LOCAL)
    checker = StableDiffusionSafetyChecker.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, **_LOCAL
    )
    return processor, _Verdicts(checker)
