"""A text classifier: what are texts, each by the scores of its labels?

A text that is longer than the model reads is read in windows that overlap, and has the highest
score of any of them. Knows transformers; not what is done with a score.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from pipelines.models.checkpoints import read_checkpoint
from pipelines.models.equipment import dtype_on
from pipelines.questions import Answer, Judge, Judged, Over, Question

_LONGEST = 512
"""Tokens of a window: what most of these models were made for."""
_ROWS = 16
"""Windows of a pass."""


class Classifier:
    """One checkpoint on one device."""

    def __init__(self, folder: Path, device: str) -> None:
        """Read it; raises WeightsError, and whatever the library raises."""
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        dtype = getattr(torch, dtype_on(device))
        self._model, self._tokenizer = read_checkpoint(
            AutoModelForSequenceClassification, AutoTokenizer, folder, dtype, device
        )
        self._device = device
        config = self._model.config
        longest = getattr(config, "max_position_embeddings", None) or _LONGEST
        self._longest = int(min(_LONGEST, longest, self._tokenizer.model_max_length))

    def answer(self, question: Question, over: Over) -> Answer:
        """The scores; nothing worth reading once it is `over`."""
        assert isinstance(question, Judge)
        best = torch.zeros(len(question.texts), self._model.config.num_labels)
        for texts, scores in self._windows(list(question.texts)):
            for text, score in zip(texts.tolist(), scores, strict=True):
                best[text] = best[text].maximum(score)
            if over():
                break
        labels = self._model.config.id2label
        return Judged(
            tuple({labels[at]: score for at, score in enumerate(row)} for row in best.tolist())
        )

    def _windows(self, texts: list[str]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Of some windows at a time: which text each is of, and its scores."""
        inputs = self._tokenizer(
            texts,
            truncation=True,
            max_length=self._longest,
            stride=self._longest // 8,
            return_overflowing_tokens=True,
            padding=True,
            return_tensors="pt",
        )
        owners = inputs.pop("overflow_to_sample_mapping")
        spoken = inputs["attention_mask"].any(dim=1).nonzero()[:, 0]
        for rows in spoken.split(_ROWS) if len(spoken) else ():  # no words, no scores
            part = {name: it[rows].to(self._device) for name, it in inputs.items()}
            yield owners[rows], self._scores(self._model(**part).logits.float().cpu())

    def _scores(self, logits: torch.Tensor) -> torch.Tensor:
        kind: Any = self._model.config.problem_type
        several = kind == "multi_label_classification" or logits.shape[1] == 1
        return logits.sigmoid() if several else logits.softmax(dim=1)
