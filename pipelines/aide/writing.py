"""A local language model: conversations are gone on with, one after another.

Alone and greedily, so that equal conversations have equal answers: in company, rounding may pick
another word, and with it another image. Knows transformers; not what is talked about.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError

from pipelines.models.checkpoints import read_checkpoint
from pipelines.models.equipment import dtype_on
from pipelines.questions import Answer, Over, Question, Turn, Write, Written

_ROOM = 8192
"""Tokens of a conversation that are read; the device's memory is meant for no more."""


class Writer:
    """One checkpoint on one device."""

    def __init__(self, folder: Path, device: str) -> None:
        """Read it; raises WeightsError, and whatever the library raises."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        dtype = getattr(torch, dtype_on(device))
        self._model, self._tokenizer = read_checkpoint(
            AutoModelForCausalLM, AutoTokenizer, folder, dtype, device
        )
        self._device = device

    def answer(self, question: Question, over: Over) -> Answer:
        """What the model says next; nothing worth reading once it is `over`."""
        from transformers import StoppingCriteriaList

        def stop(ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
            return torch.full((len(ids),), over(), device=ids.device)

        assert isinstance(question, Write)
        inputs = self._inputs(question.turns)
        length = inputs["input_ids"].shape[1]
        if length > self._room(question.max_tokens):
            raise ValueError(f"the conversation has {length} tokens, which is too long")
        written = self._model.generate(
            **inputs.to(self._device),
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            max_new_tokens=question.max_tokens,
            stopping_criteria=StoppingCriteriaList([stop]),
            pad_token_id=self._tokenizer.pad_token_id or self._tokenizer.eos_token_id,
        )
        new = written[0, length:]
        return Written(self._tokenizer.decode(new, skip_special_tokens=True))

    def _inputs(self, turns: Sequence[Turn]) -> Any:
        """The conversation as the model was taught to read it, or else in plain lines."""
        if self._tokenizer.chat_template is None:
            return self._tokenizer(_plain(turns), return_tensors="pt")
        try:
            return self._in_template(turns)
        except TemplateError:  # some know no system's turn
            return self._in_template(_without_system(turns))

    def _in_template(self, turns: Sequence[Turn]) -> Any:
        return self._tokenizer.apply_chat_template(
            [{"role": turn.role, "content": turn.text} for turn in turns],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
            enable_thinking=False,  # of templates that know it
        )

    def _room(self, max_tokens: int) -> int:
        most = getattr(self._model.config, "max_position_embeddings", None) or _ROOM
        return min(_ROOM, int(most) - max_tokens)


def _without_system(turns: Sequence[Turn]) -> list[Turn]:
    """What the system says, at the beginning of what the user says first."""
    told = "".join(f"{turn.text}\n\n" for turn in turns if turn.role == "system")
    first, *others = (turn for turn in turns if turn.role != "system")
    return [Turn(first.role, told + first.text), *others]


def _plain(turns: Sequence[Turn]) -> str:
    told = "\n\n".join(f"{turn.role.capitalize()}: {turn.text}" for turn in turns)
    return f"{told}\n\nAssistant:"
