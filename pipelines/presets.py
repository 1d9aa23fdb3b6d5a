"""What weights.yaml says of a model in numbers: where it is good, and what each quality means.

Knows sizes and steps; no file, and no model by name.
"""

from math import sqrt

from pydantic import Field, model_validator

from pipelines.definitions import Strict


class NativeSize(Strict):
    """Where a model is good: `smallest`² to `largest`² pixels, sides a multiple of `multiple`, the
    longer side at most `steepest` times the shorter one."""

    smallest: int = Field(ge=8, le=8192)
    largest: int = Field(ge=8, le=8192)
    multiple: int = Field(ge=1, le=256)
    steepest: float = Field(default=4.0, ge=1, le=64)

    @model_validator(mode="after")
    def _ordered(self) -> "NativeSize":
        if self.smallest > self.largest:
            raise ValueError("smallest is above largest")
        if self.multiple > self.smallest:
            raise ValueError("multiple is above smallest")
        return self

    def nearest(self, width: int, height: int) -> tuple[int, int]:
        """The native size, in pixels, nearest in area and aspect ratio to the one asked for."""
        area = min(max(width * height, self.smallest**2), self.largest**2)
        ratio = min(max(width / height, 1 / self.steepest), self.steepest)
        return self._round(sqrt(area * ratio)), self._round(sqrt(area / ratio))

    def _round(self, side: float) -> int:
        return max(self.multiple, round(side / self.multiple) * self.multiple)


class Preset(Strict):
    """What one quality level means for a model."""

    steps: int = Field(ge=1, le=500)
    guidance_scale: float = Field(ge=0, le=100)


class Quality(Strict):
    """A preset for each quality level; `standard` and `auto` are medium, `hd` is high."""

    low: Preset
    medium: Preset
    high: Preset


class Strength(Strict):
    """How far a picture is left behind, from 0 (not at all) to 1: what `strength` is by default."""

    inpaint: float = Field(default=1.0, gt=0, le=1)
    edit: float = Field(default=0.8, gt=0, le=1)
    variation: float = Field(default=0.6, gt=0, le=1)
