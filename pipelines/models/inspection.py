"""Looking at finished images: what a classifier finds in them can keep them back.

Knows transformers' image classifiers, and the safety checker that comes with Stable Diffusion; not
which images are looked at.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch

from pipelines.content import NSFW, Category, Classifier, is_safety_checker
from pipelines.core import Blocked, NonFinite, Strictness
from pipelines.lanes.finite import DAMAGED
from pipelines.models.companions import Companion, Onlooker, Parts


class Inspector(Companion):
    """A classifier of images."""

    key = "policy.images"

    def __init__(self, classifier: Classifier, device: str) -> None:
        super().__init__(classifier.folder, device)
        self._classifier = classifier

    def check(self, pixels: torch.Tensor, strictness: Strictness) -> None:
        """Raises Blocked for an image, (3, height, width) in [0, 1] or in 8 bits, that is not to be
        let out.

        ModelUnavailable if there are no weights that can be read: then none is.
        """
        least = self._classifier.thresholds.of(strictness)
        if found := {category for category, score in self.scores(pixels) if score >= least}:
            raise Blocked(tuple(sorted(found)))

    def scores(self, pixels: torch.Tensor) -> list[tuple[Category, float]]:
        """What is in such an image, by label; raises ModelUnavailable or NonFinite.

        NaN scores are below every threshold, and would let every image out.
        """
        found, categories = self.look(pixels)
        scores = found[0].tolist()
        if any(math.isnan(score) for score in scores):
            raise NonFinite(f"image classifier ({self.key})", DAMAGED)
        return list(zip(categories, scores, strict=True))

    def _read(self) -> Parts:
        from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
        from transformers import AutoModelForImageClassification

        labels = self._classifier.labels
        if is_safety_checker(self._folder):
            checker, processor = self._checkpoint(StableDiffusionSafetyChecker)
            return Parts(_Verdicts(checker), processor, list((labels or NSFW).values()))
        model, processor = self._checkpoint(AutoModelForImageClassification)
        known = {name: index for index, name in model.config.id2label.items()}
        scores = _Scores(model, [known[name] for name in labels])
        return Parts(scores, processor, list(labels.values()))


class Guard(Onlooker):
    """The safety checker that a model brings along, and that lies in its memory: it keeps images
    back where a policy is on, instead of painting them black in silence."""

    key = "safety_checker"

    def __init__(self, pipe: Any, name: str) -> None:
        device = next(pipe.safety_checker.parameters()).device
        super().__init__(name, str(device))
        self._pipe = pipe

    def check(self, pixels: torch.Tensor, strictness: Strictness) -> None:
        """Raises Blocked for an image, (3, height, width) in [0, 1] or in 8 bits, by no other
        threshold than its own."""
        found, categories = self.look(pixels)
        if found.isnan().any():
            raise NonFinite("safety checker of the model", DAMAGED)
        if found.any():
            raise Blocked(tuple(categories))

    def _read(self) -> Parts:
        checker, processor = self._pipe.safety_checker, self._pipe.feature_extractor
        return Parts(_Verdicts(checker), processor, list(NSFW.values()))


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
    """The same of a safety checker, whose only score is 0 or 1, or NaN if its embedding is not
    finite: it would find nothing in any image."""

    def __init__(self, checker: Any) -> None:
        super().__init__()
        self._checker = checker
        self._finite = torch.ones(1, dtype=torch.bool)
        checker.visual_projection.register_forward_hook(self._embedded)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        nothing = torch.zeros(len(pixel_values), 1)  # what it would paint over
        _, found = self._checker(clip_input=pixel_values, images=nothing)
        verdicts = torch.tensor(found, dtype=torch.float32).view(-1, 1)
        verdicts[~self._finite.cpu()] = math.nan
        return verdicts

    def _embedded(self, module: torch.nn.Module, inputs: Any, embeds: torch.Tensor) -> None:
        self._finite = torch.isfinite(embeds).all(dim=-1)
