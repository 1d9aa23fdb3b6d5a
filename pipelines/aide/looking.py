"""An image classifier: what is seen in a picture, by the scores of categories.

The one that a worker has for what is made there, asked about one that was sent. Knows how
pixels arrive; how they are looked at is known to `inspection`.
"""

import numpy as np
import torch

from pipelines.content import Category, Classifier
from pipelines.models.inspection import Inspector
from pipelines.questions import Answer, Look, Looked, Over, Question, Seen

_NOTHING = Seen(8, 8, bytes(8 * 8 * 3))


class Looking:
    """One checkpoint on one device."""

    def __init__(self, classifier: Classifier, device: str) -> None:
        """Read it; raises ModelUnavailable."""
        self._inspector = Inspector(classifier, device)
        self._scores(_NOTHING)

    def answer(self, question: Question, over: Over) -> Answer:
        """The scores."""
        assert isinstance(question, Look)
        return Looked(self._scores(question.picture))

    def _scores(self, picture: Seen) -> dict[Category, float]:
        shape = picture.height, picture.width, 3
        pixels = np.frombuffer(picture.pixels, np.uint8).reshape(shape).astype(np.float32) / 255
        best: dict[Category, float] = {}
        for category, score in self._inspector.scores(torch.from_numpy(pixels).permute(2, 0, 1)):
            best[category] = max(score, best.get(category, 0.0))
        return best
