"""What passes take: models as data. Knows neither who asks nor who goes next.

The large models are drawn after public measurements of a large data-centre GPU (bfloat16, eager);
a row of SD and SDXL is a half of an image's guidance. They are examples, not promises.
"""

from dataclasses import dataclass
from typing import Protocol

from pipelines.lanes.joins import Stage


class PassTime(Protocol):
    """Seconds of a pass, by its rows. A measured curve is one as well."""

    def at(self, rows: int) -> float: ...


@dataclass(frozen=True, slots=True)
class Line:
    """So long for any pass, and so much for each row: all base, company is free; none, useless."""

    base: float
    row: float

    def at(self, rows: int) -> float:
        """Seconds of a pass of so many rows."""
        return self.base + self.row * rows


@dataclass(frozen=True, slots=True)
class Shape:
    """One model at one size: the passes that a job makes, and how many rows it brings to each."""

    model: str
    step: PassTime
    encode: PassTime | None = None
    decode: PassTime | None = None
    rows: int = 1
    """Of a denoising pass; encoding and decoding are a row each."""
    size: int = 1024
    load_s: float = 10.0

    def key(self, stage: Stage) -> str:
        """What kind of pass: calls of equal key may share one."""
        size = "" if stage is Stage.ENCODE else f":{self.size}"
        return f"{self.model}:{stage.name.lower()}{size}"

    def pass_time(self, stage: Stage) -> PassTime | None:
        """None: there is no such pass."""
        return (self.encode, self.step, self.decode)[stage]

    def alone_s(self, steps: int) -> float:
        """The seconds of a device that a job takes with nobody beside it."""
        ends = sum(each.at(1) for each in (self.encode, self.decode) if each)
        return ends + steps * self.step.at(self.rows)


TEXT = Line(0.020, 0.008)
FLUX = Shape("flux", Line(0.016, 0.219), TEXT, Line(0.002, 0.026), load_s=25.0)
FLUX_512 = Shape("flux", Line(0.016, 0.064), TEXT, Line(0.002, 0.008), size=512, load_s=25.0)
SDXL = Shape("sdxl", Line(0.027, 0.020), TEXT, Line(0.003, 0.025), rows=2, load_s=10.0)
SD = Shape("sd", Line(0.0145, 0.0019), TEXT, Line(0.003, 0.006), rows=2, size=512, load_s=5.0)

LAUNCH_BOUND = Shape("light", Line(0.018, 0.002))
"""Company is nearly free: a pass of eight costs 1.7 times one."""

PROPORTIONAL = Shape("heavy", Line(0.0, 0.020))
"""Company brings nothing: a pass takes as much longer as it has more rows."""
