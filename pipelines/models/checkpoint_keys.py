"""Tensors and metadata of a single-file checkpoint that are not weights of a component.

Markers configure the noise scheduler, scales belong to quantized weights, and `IGNORED` lists
tensors without effect on images. Torch is not imported.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from struct import unpack
from typing import Any

from pipelines.models.headers import metadata, raw_bytes, tensors
from pipelines.registry import Prediction
from pipelines.weights.manifest import WeightsError

WEIGHT_SCALES = (".scale_weight", ".weight_scale", ".weight_scale_inv")
"""Suffixes of the factors that a layer's `weight` is multiplied by: those of ComfyUI, Black Forest
Labs, and transformers (which calls a factor for blocks an inverse)."""

_FLOAT8 = frozenset({"F8_E4M3", "F8_E5M2"})
_FORMATS = frozenset({"float8_e4m3fn", "float8_e5m2"})
"""Quantization formats whose weights are `weight * weight_scale`."""
_METADATA_KEY = "_quantization_metadata"
_FORMAT_SUFFIX = ".comfy_quant"
_PREFIX = "model.diffusion_model."
_MARKERS = frozenset({"v_pred", "ztsnr", "scaled_fp8"})
_ZERO_ALPHA = 1e-6
"""A cumulative alpha below this is zero terminal SNR: 0.0047 is usual for Stable Diffusion."""
_ZERO_SIGMA = 1000.0

IGNORED: Mapping[str, str] = {
    r"(.*\.)?model_ema\..*": "averaged weights, kept for further training",
    r".*\.(scale_input|input_scale)": "scales activations for 8-bit matrix products only",
    r".*position_ids": "counts positions, and is built with the model",
    r".*\.attn_mask": "the causal mask, which is built with the model",
    r".*\.logit_scale": "scales CLIP's similarities, which no pipeline computes",
    r"((first_stage_model|vae)\.)?loss\..*": "the autoencoder's training loss",
    r"(betas|alphas_cumprod|alphas_cumprod_prev|.*sqrt_.*alphas_cumprod|logvar|lvlb_weights"
    r"|log_one_minus_alphas_cumprod|posterior_.*|model_sampling\.sigmas|denoiser\.sigmas)":
    "the noise schedule of the training; the noise scheduler's configuration counts",
    r"(scale_factor|global_step|epoch)": "a number of the training",
    r"text_encoders\..*\.(spiece_model|tekken_model)": "a tokenizer, which `config` has",
    r"cond_stage_model\.model\.transformer\.resblocks\.23\..*":
    "the last layer of a text encoder whose last but one is read",
}  # fmt: skip
"""Names of tensors without effect on images (regular expressions), and why."""

PROJECTION = re.compile(r"(.*\.)?text_projection(\.weight)?")
"""A text encoder's projection: without effect where the component's class has none."""

UNUSED_NORM = re.compile(r"(model\.diffusion_model\.)?norm_final\.weight")
"""A norm in the files of Z-Image and Lumina 2, which their denoisers do not apply."""


@dataclass(frozen=True, slots=True)
class NoiseSettings:
    """Overrides of a noise scheduler's configuration; None keeps what it says."""

    prediction: Prediction | None = None
    """What the denoiser predicts."""
    zero_terminal_snr: bool | None = None
    """Whether the last step is pure noise."""

    def over(self, other: "NoiseSettings") -> "NoiseSettings":
        """These settings, and those of `other` where this one has none."""
        own = self.zero_terminal_snr
        return NoiseSettings(
            self.prediction or other.prediction, other.zero_terminal_snr if own is None else own
        )


def is_weight(name: str) -> bool:
    """Whether a tensor belongs to a component: it is no marker, no scale, and not ignored."""
    return not (
        name.removeprefix(_PREFIX) in _MARKERS
        or name.endswith((*WEIGHT_SCALES, _FORMAT_SUFFIX, ".scaled_fp8"))
        or has_no_effect(name)
    )


def has_no_effect(name: str) -> bool:
    """Whether a tensor is one of those that are `IGNORED`."""
    return any(re.fullmatch(pattern, name) for pattern in IGNORED)


def scaled_weights(names: Collection[str]) -> Iterator[tuple[str, str]]:
    """Each scale in a file, and the weight that it belongs to."""
    for name in names:
        for suffix in WEIGHT_SCALES:
            if name.endswith(suffix):
                yield name, name.removesuffix(suffix) + ".weight"


def blocks_of(weight: Sequence[int], scale: Sequence[int]) -> list[int] | None:
    """How many numbers of a weight each number of its scale stands for, by dimension.

    None if the shapes do not fit.
    """
    if prod(scale) == 1:
        return list(weight)
    shape = [*scale, *([1] * (len(weight) - len(scale)))]
    if len(shape) != len(weight) or any(w % s for w, s in zip(weight, shape, strict=True) if s):
        return None
    return [w // s for w, s in zip(weight, shape, strict=True)] if all(shape) else None


def require_readable(file: Path) -> None:
    """Raise WeightsError if a file's weights are stored in a way that is not supported."""
    there = dict(tensors(file))
    for name in (it for it in there if it.endswith(_FORMAT_SUFFIX)):
        _require_format(file, name.removesuffix(_FORMAT_SUFFIX), json.loads(raw_bytes(file, name)))
    stated = json.loads(metadata(file).get(_METADATA_KEY, "{}"))
    for layer, how in dict(stated.get("layers") or {}).items():
        _require_format(file, layer, how)
    for scale, weight in scaled_weights(there):
        _require_scale(file, scale, weight, there)


def _require_format(file: Path, layer: str, how: Any) -> None:
    name = how.get("format") if isinstance(how, dict) else how
    if name not in _FORMATS:
        raise WeightsError(
            f"{file.name}: {layer} is quantized as {name}, which is not supported; "
            f"supported: {', '.join(sorted(_FORMATS))}, and GGUF"
        )


def _require_scale(
    file: Path, scale: str, weight: str, there: Mapping[str, Mapping[str, Any]]
) -> None:
    if weight not in there:
        raise WeightsError(f"{file.name}: {scale} scales {weight}, which is not there")
    shapes = there[weight]["shape"], there[scale]["shape"]
    if blocks_of(*shapes) is None:
        raise WeightsError(f"{file.name}: {scale} of shape {shapes[1]} does not fit {shapes[0]}")
    if there[weight]["dtype"] not in _FLOAT8 | {"F32", "F16", "BF16"}:
        kind = there[weight]["dtype"]
        raise WeightsError(f"{file.name}: {weight} is stored as scaled {kind}: not supported")


def noise_settings(file: Path) -> NoiseSettings:
    """What a safetensors file says of the noise that its denoiser was trained with.

    Marker tensors count for more than metadata, which merges of models often copy.
    """
    there = {name.removeprefix(_PREFIX): name for name, _ in tensors(file)}
    found = _of_metadata(metadata(file))
    if "v_pred" in there:
        found = replace(found, prediction="v")
    if "ztsnr" in there or _ends_in_noise(file, there):
        found = replace(found, zero_terminal_snr=True)
    return found


def _of_metadata(said: Mapping[str, str]) -> NoiseSettings:
    named = said.get("modelspec.prediction_type", "").lower()
    names: dict[str, Prediction] = {
        **dict.fromkeys(("epsilon", "eps"), "epsilon"),
        **dict.fromkeys(("v", "v_prediction", "v-prediction", "vpred", "v_pred"), "v"),
    }
    prediction = names.get(named)
    if said.get("ss_v_parameterization", "").lower() == "true":
        prediction = "v"
    zero = said.get("ss_zero_terminal_snr", "").lower() == "true"
    return NoiseSettings(prediction, True if zero else None)


def _ends_in_noise(file: Path, there: Mapping[str, str]) -> bool:
    """Whether the noise schedule of the training ends in pure noise."""
    alphas = _numbers(file, there.get("alphas_cumprod"))
    sigmas = _numbers(file, there.get("denoiser.sigmas"))
    return (bool(alphas) and min(alphas) < _ZERO_ALPHA) or max(sigmas, default=0) > _ZERO_SIGMA


def _numbers(file: Path, name: str | None) -> tuple[float, ...]:
    if name is None or dict(tensors(file))[name]["dtype"] != "F32":
        return ()
    data = raw_bytes(file, name)
    return unpack(f"<{len(data) // 4}f", data)
