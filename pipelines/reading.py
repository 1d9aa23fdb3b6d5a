"""How much of its job's texts a pipeline reads: all of them, where its text encoders are CLIPs.

Such a pipeline encodes a long text in pieces, as a batch, and has their encodings one after the
other. What a tokenizer cuts off all the same is counted. Knows how diffusers encodes prompts, not
its families by name.
"""

import inspect
from collections import defaultdict
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

import torch

from pipelines.core import Job
from pipelines.pieces import cut
from pipelines.tasks.arguments import parameters, text_length

_CLIPS = frozenset({"CLIPTextModel", "CLIPTextModelWithProjection"})

_TEXTS = ("prompt", "negative_prompt")
"""The second one is not encoded without guidance."""

Note = Callable[[str, int, int], None]
"""(text, its tokens, how many of them there is room for)."""


class Reading:
    """Has a job's own fork of a pipeline read the texts of the job, and watches it."""

    def __init__(self, pipe: Any, job: Job) -> None:
        self._texts = {job.negative_prompt or "": "negative_prompt", job.prompt: "prompt"}
        self._left: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
        self._room = _room(pipe)
        if _reads_pieces(pipe):
            tokenizer = pipe.tokenizer or pipe.tokenizer_2  # a refiner has but one of SDXL's two
            vars(pipe)["encode_prompt"] = _in_pieces(pipe.encode_prompt, tokenizer, self._texts)
        for name, tokenizer in list(vars(pipe).items()):
            if name.startswith("tokenizer") and callable(tokenizer):
                # A processor's first argument is a picture, and it has a tokenizer.
                words = getattr(tokenizer, "tokenizer", tokenizer)
                vars(pipe)[name] = _Watched(tokenizer, self._noting(name, words))

    @property
    def unread(self) -> dict[str, int]:
        """The tokens at the end of a text that no text encoder saw, where there are any."""
        counts: dict[str, list[int]] = defaultdict(list)
        for (text, _), left in self._left.items():
            counts[text].append(sum(left.values()))
        return {text: min(found) for text, found in counts.items() if min(found)}

    def _noting(self, tokenizer: str, tokens: Callable[..., Any]) -> Note:
        def note(said: str, whole: int, room: int) -> None:
            text = self._told_in(said)
            behind = said.partition(text)[2] if text else ""
            tail = len(tokens(behind, add_special_tokens=False)["input_ids"]) if behind else 0
            left = int(whole - min(room, self._room) - tail)
            self._left[self._texts.get(text, "prompt"), tokenizer][said] = max(0, left)

        return note

    def _told_in(self, said: str) -> str:
        """The text of the job, or the piece of one, that a tokenizer is told among other things."""
        if said in self._texts:
            return said
        return max((text for text in self._texts if text in said), key=len, default="")


class _Watched:
    """A tokenizer, and a note of each text that it is told to cut off somewhere."""

    def __init__(self, tokenizer: Any, note: Note) -> None:
        self._tokenizer = tokenizer
        self._note = note

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(self, text: str | Sequence[str], **how: Any) -> Any:
        if how.get("truncation"):
            special = how.get("add_special_tokens", True)
            for said in [text] if isinstance(text, str) else text:
                whole = self._tokenizer(said, add_special_tokens=special)["input_ids"]
                self._note(said, len(whole), how["max_length"])
        return self._tokenizer(text, **how)

    def apply_chat_template(self, messages: Any, **how: Any) -> Any:
        if how.get("truncation"):
            uncut = how | {"truncation": False, "padding": False}
            whole = self._tokenizer.apply_chat_template(messages, **uncut)["input_ids"]
            (said,) = self._tokenizer.apply_chat_template(messages, tokenize=False)
            self._note(said, whole.shape[-1], how["max_length"])
        return self._tokenizer.apply_chat_template(messages, **how)


def _room(pipe: Any) -> float:
    """The tokens that a pipeline keeps of those that its tokenizer has left.

    Where it encodes what is said before a prompt, and leaves that out then, it cuts once more.
    """
    before: int | None = getattr(pipe, "prompt_template_encode_start_idx", None)
    return inf if before is None else before + text_length(pipe)["max_sequence_length"]


def _reads_pieces(pipe: Any) -> bool:
    """Whether a family knows no length of text but that of its CLIPs."""
    encoders = [it for name, it in pipe.components.items() if name.startswith("text_encoder")]
    kinds = {type(it).__name__ for it in encoders if it is not None}
    return bool(kinds) and kinds <= _CLIPS and "max_sequence_length" not in parameters(pipe)


def _in_pieces(
    encode: Callable[..., Any], tokenizer: Any, names: dict[str, str]
) -> Callable[..., Any]:
    """A pipeline's `encode_prompt`, for texts of any length; `names` is told whose each piece is.

    The other of prompt and negative prompt gets empty pieces. Pooled is the first piece, as in
    AUTOMATIC1111's web UI, from which people know long prompts.
    """
    takes = inspect.signature(encode)

    def encode_prompt(*args: Any, **kwargs: Any) -> Any:
        told = takes.bind(*args, **kwargs).arguments
        used = _TEXTS if told.get("do_classifier_free_guidance", True) else _TEXTS[:1]
        texts = {name: told[name] for name in used if told.get(name)}
        pieces = {name: cut(text, tokenizer) for name, text in texts.items()}
        names.update({piece: name for name, found in pieces.items() for piece in found})
        most = max(map(len, pieces.values()), default=1)
        if most == 1:
            return encode(*args, **kwargs)
        padded = {name: it + [""] * (most - len(it)) for name, it in pieces.items()}
        padded.setdefault("prompt", [""] * most)
        if told.get("negative_prompt") == "":
            padded["negative_prompt"] = [""] * most
        return tuple(map(_joined, encode(**told | padded)))

    return encode_prompt


def _joined(encoded: torch.Tensor | None) -> torch.Tensor | None:
    """(pieces, tokens, width) -> (1, pieces * tokens, width); (pieces, width) -> (1, width)."""
    if encoded is None:
        return None
    return encoded.flatten(0, 1)[None] if encoded.ndim == 3 else encoded[:1]
