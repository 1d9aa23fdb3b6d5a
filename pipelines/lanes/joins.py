"""How the arguments of a module's calls join when several lanes call at once: data, a row a class.

The only knowledge of model families that merging needs. A class that is not here runs alone:
slower, never wrong. Nothing here knows lanes or policy, and torch is not imported.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum


class Stage(IntEnum):
    """Where in a job's life a call belongs."""

    ENCODE = 0
    DENOISE = 1
    DECODE = 2


@dataclass(frozen=True, slots=True)
class Join:
    """How the calls of one module class become one call."""

    rows_of: str | None
    """The argument whose length (a tensor's first dimension) counts a call's rows; None: never
    merge. Where it is a Python list, so is the answer: an entry a row."""
    stage: Stage = Stage.DENOISE
    method: str = "forward"
    shared: frozenset[str] = frozenset()
    """Tensors that describe every row alike: equal in value, or the calls stay apart."""
    spread: frozenset[str] = frozenset()
    """Scalars that stand for every row of a call: given to each row before joining."""
    listed: Mapping[str, int] = field(default_factory=dict)
    """Python lists with an entry a row, and the multiple to which the module itself pads an entry's
    length: entries that it pads to the same length are alike."""
    unused: frozenset[str] = frozenset()
    """Arguments that the module takes and never looks at."""
    remembers: bool = False
    """The answer depends on little input that comes again: keep the last ones."""


_TIMESTEP = frozenset({"timestep"})
_POSITIONS = frozenset({"img_ids", "txt_ids"})
_TEXT = Join("input_ids", stage=Stage.ENCODE, remembers=True)
_LATENTS = Join("z", stage=Stage.DECODE, method="decode", unused=frozenset({"generator"}))
_PICTURES = Join(None, stage=Stage.ENCODE, method="encode")
"""Pictures into latents, a call at a time: the answer is a distribution, which does not split."""
ALONE = Join(None)

JOINS: dict[str, Join] = {
    "UNet2DConditionModel": Join("sample", spread=_TIMESTEP),
    "SD3Transformer2DModel": Join("hidden_states", spread=_TIMESTEP),
    "FluxTransformer2DModel": Join("hidden_states", spread=_TIMESTEP, shared=_POSITIONS),
    # Its positions have rows, of which it looks at the first alone.
    "Flux2Transformer2DModel": Join("hidden_states", spread=_TIMESTEP, shared=_POSITIONS),
    "QwenImageTransformer2DModel": Join(
        "hidden_states", spread=_TIMESTEP, listed={"img_shapes": 1}
    ),
    "ZImageTransformer2DModel": Join("x", listed={"x": 1, "cap_feats": 32}),
    "CLIPTextModel": _TEXT,
    "CLIPTextModelWithProjection": _TEXT,
    "T5EncoderModel": _TEXT,
    "Qwen3Model": _TEXT,
    "Qwen3ForCausalLM": _TEXT,
    "Mistral3ForConditionalGeneration": _TEXT,
    "Qwen2_5_VLForConditionalGeneration": _TEXT,
    "AutoencoderKL": _LATENTS,
    "AutoencoderKLFlux2": _LATENTS,
    "AutoencoderKLQwenImage": _LATENTS,
    "AutoencoderTiny": Join(
        "x", stage=Stage.DECODE, method="decode", unused=frozenset({"generator"})
    ),
}

DENOISERS = frozenset({"unet", "transformer", "transformer_2"})
"""Pipeline components that are called once or more a step."""


def joins_for(component: str, class_name: str) -> tuple[Join, ...]:
    """How calls of a pipeline's component meet; none where lanes go straight through it."""
    join = JOINS.get(class_name, ALONE if component in DENOISERS else None)
    if join is None:
        return ()
    return (join, _PICTURES) if join.stage is Stage.DECODE else (join,)
