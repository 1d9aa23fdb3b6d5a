"""Weights in fewer bits: what they take then, which package does it, and where it cannot be done.

Data alone: nothing is imported for it, so that it can be told without a device.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

EXTRA = "quant"
"""What is installed with darkroom so that it has the packages."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """One way to store the weights of a model's linear layers."""

    package: str
    means: str
    each: float
    """Bytes of a weight, with its share of what scales it."""
    a_row: int = 0
    """Bytes for each of a layer's outputs, beside its weights."""
    cuda: bool = False
    """diffusers has it on CUDA devices alone."""
    spares: frozenset[str] = frozenset()
    """Layers that transformers leaves as they are: a T5's second ones."""


_T5 = frozenset({"wo"})

QUANTIZATIONS: Mapping[str, Quantization] = {
    "float8": Quantization("torchao", "8 bits a weight, floating", each=1, a_row=4),
    "int8": Quantization(
        "bitsandbytes", "8 bits a weight, whole numbers", 1, a_row=4, cuda=True, spares=_T5
    ),
    "nf4": Quantization("bitsandbytes", "4 bits a weight", 0.5 + 4 / 64, cuda=True, spares=_T5),
}
"""From the truest to the smallest."""

_NOT_LINEAR = frozenset({"shared", "embed_tokens", "relative_attention_bias", "lm_head"})
"""What tables of embeddings are called, and what transformers leaves as it is."""


def quantized_size(kind: str, name: str, shape: list[int], size: int) -> int:
    """Bytes of a tensor in a quantized module, that takes `size` in one which is not."""
    *_, layer, last = "", *name.split(".")
    how = QUANTIZATIONS[kind]
    if last != "weight" or len(shape) != 2 or layer in _NOT_LINEAR | how.spares:
        return size
    rows, columns = shape
    return int(how.each * rows * columns + how.a_row * rows)


def unable(kind: str, device: str = "cuda") -> str | None:
    """Why there is no such quantization on a device, and what would help; None where there is."""
    how = QUANTIZATIONS.get(kind)
    if how is None:
        return None
    if find_spec(how.package) is None:
        return f"{kind} needs {how.package}: pip install 'darkroom[{EXTRA}]'"
    if how.cuda and not device.startswith("cuda"):
        return f"{kind} needs a CUDA device, and this is {device}"
    return None


def able(device: str = "cuda") -> frozenset[str]:
    """The quantizations that there are on a device, with the packages that are installed."""
    return frozenset(kind for kind in QUANTIZATIONS if unable(kind, device) is None)
