"""How the arguments of a module's calls join when several lanes call at once: data, a row a class.

The only knowledge of model families that merging needs. A class that is not here runs alone:
slower, never wrong. Nothing here knows lanes or policy, and torch is not imported.
"""

from dataclasses import dataclass
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
    """The argument whose first dimension counts a call's rows; None: never merge."""
    stage: Stage = Stage.DENOISE
    method: str = "forward"
    shared: frozenset[str] = frozenset()
    """Tensors that describe every row alike: equal in value, or the calls stay apart."""
    spread: frozenset[str] = frozenset()
    """Scalars that stand for every row of a call: given to each row before joining."""
    unused: frozenset[str] = frozenset()
    """Arguments that the module takes and never looks at."""
    remembers: bool = False
    """The answer depends on little input that comes again: keep the last ones."""


_TIMESTEP = frozenset({"timestep"})
_TEXT = Join("input_ids", stage=Stage.ENCODE, remembers=True)
ALONE = Join(None)

JOINS: dict[str, Join] = {
    "UNet2DConditionModel": Join("sample", spread=_TIMESTEP),
    "SD3Transformer2DModel": Join("hidden_states", spread=_TIMESTEP),
    "FluxTransformer2DModel": Join(
        "hidden_states", spread=_TIMESTEP, shared=frozenset({"img_ids", "txt_ids"})
    ),
    "CLIPTextModel": _TEXT,
    "CLIPTextModelWithProjection": _TEXT,
    "T5EncoderModel": _TEXT,
    "AutoencoderKL": Join(
        "z", stage=Stage.DECODE, method="decode", unused=frozenset({"generator"})
    ),
    "AutoencoderTiny": Join(
        "x", stage=Stage.DECODE, method="decode", unused=frozenset({"generator"})
    ),
}

DENOISERS = frozenset({"unet", "transformer", "transformer_2"})
"""Pipeline components that are called once or more a step."""


def join_for(component: str, class_name: str) -> Join | None:
    """How calls of a pipeline's component meet; None where lanes go straight through it."""
    return JOINS.get(class_name, ALONE if component in DENOISERS else None)
