"""Checks that the tensors of a job are finite, without waiting for the device.

A check is a boolean tensor on the device. It is read where the pixels are copied to the host.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import torch

from pipelines.lanes.joins import Join, Stage

TEXT_ENCODER = "text encoder"
IMAGE_ENCODER = "image encoder"
DENOISER = "denoiser"
DECODER = "decoder"
STAGES = (TEXT_ENCODER, IMAGE_ENCODER, DENOISER, DECODER)
"""In the order in which a job runs through them."""
DAMAGED = "Its weights may be damaged; `darkroom verify` checks them."
"""What may be wrong where no overflow is likely."""

T = TypeVar("T")


class FiniteChecks:
    """One check for each stage of a job. Decoding replaces those of the denoiser and decoder."""

    def __init__(self) -> None:
        self._checks: dict[str, torch.Tensor] = {}

    def record(self, join: Join, arguments: Mapping[str, Any], answer: T) -> T:
        """Check a finished module call, and return its answer."""
        if join.method == "decode":
            self._set(DENOISER, is_finite(arguments))
            self._set(DECODER, is_finite(answer))
        elif join.stage is Stage.ENCODE:
            self._add(IMAGE_ENCODER if join.method == "encode" else TEXT_ENCODER, is_finite(answer))
        return answer

    def image(self, pixels: torch.Tensor) -> torch.Tensor:
        """The check of a decoded image: its latents, the decoder's output and its pixels.

        Pipelines clamp infinite pixels away, so the pixels alone do not tell. Encoders do not
        count: a model may ignore an output of theirs.
        """
        check = torch.isfinite(pixels).all()
        for stage in (DENOISER, DECODER):
            if stage in self._checks:
                check = check & self._checks[stage].to(check.device)
        return check

    def first_failure(self) -> str:
        """The first stage whose check failed. Waits for the device."""
        failed = (stage for stage in STAGES if stage in self._checks and not self._checks[stage])
        return next(failed, f"{DENOISER} or {DECODER}")

    def _add(self, stage: str, check: torch.Tensor | None) -> None:
        earlier = self._checks.get(stage)
        self._set(stage, check if earlier is None or check is None else earlier & check)

    def _set(self, stage: str, check: torch.Tensor | None) -> None:
        if check is not None:
            self._checks[stage] = check


def is_finite(value: Any) -> torch.Tensor | None:
    """Whether the first tensor in a value is finite, as a scalar on its device; None without one.

    Module outputs put their main result first; a posterior of an autoencoder has `parameters`.
    """
    tensor = _first_tensor(value)
    return None if tensor is None else torch.isfinite(tensor).all()


def _first_tensor(value: Any) -> torch.Tensor | None:
    if torch.is_tensor(value):
        return value
    if torch.is_tensor(parameters := getattr(value, "parameters", None)):
        return parameters
    parts = value.values() if isinstance(value, Mapping) else value
    if not isinstance(value, Mapping | list | tuple):
        return None
    return next((it for part in parts if (it := _first_tensor(part)) is not None), None)
