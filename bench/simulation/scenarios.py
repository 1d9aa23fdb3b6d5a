"""What is simulated: devices, mixes of requests, loads and paces, as data."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from bench.simulation.arrivals import (
    DAY_S,
    Arrival,
    Bursts,
    Kind,
    Pace,
    arrivals,
    daily,
    steady,
    work_s,
)
from bench.simulation.models import FLUX, FLUX_512, LAUNCH_BOUND, PROPORTIONAL, SD, SDXL, Shape
from bench.simulation.run import Box, Result, Simulation
from bench.simulation.ways import Way


@dataclass(frozen=True, slots=True)
class Scenario:
    """Requests of some kinds at a load, against devices."""

    title: str
    kinds: Sequence[Kind]
    load: float
    """Of what the devices could do one job at a time."""
    box: Box = field(default_factory=Box)
    lasts_s: float = 3600.0
    pace: str = "steady"

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.load * self.box.devices / work_s(self.kinds)

    def arrivals(self, seed: int) -> Iterator[Arrival]:
        """The same for every way."""
        pace, at_most = _pace(self.pace, seed)
        return arrivals(self.kinds, self.rate, seed, self.lasts_s, pace, at_most)

    def run(self, way: Way, seed: int = 1, stepping: bool = False) -> Result:
        """One simulation."""
        return Simulation(self.box, way, self.arrivals(seed), stepping).run()


def _pace(name: str, seed: int) -> tuple[Pace, float]:
    if name == "bursts":
        return Bursts(seed), 5.0
    return (daily, 1.6) if name == "daily" else (steady, 1.0)


def short_and_long(shape: Shape) -> Sequence[Kind]:
    """Half of them 8 steps, half 40."""
    return (Kind("short", shape, 8), Kind("long", shape, 40))


def three_lengths(shape: Shape) -> Sequence[Kind]:
    """A third each of 12, 20 and 28 steps."""
    return tuple(Kind(f"{steps} steps", shape, steps) for steps in (12, 20, 28))


def one_kind(shape: Shape, steps: int = 20) -> Sequence[Kind]:
    """All equal."""
    return (Kind("images", shape, steps),)


def _one(*models: str) -> Box:
    return Box(resident=(models,))


TEAM = tuple(f"member {n}" for n in range(6))
MIX = (
    Kind("draft", SD, 20, share=4, callers=TEAM),
    Kind("picture", SDXL, 30, share=3, callers=TEAM),
    Kind("four at once", SDXL, 30, share=0.5, callers=TEAM, images=4),
    Kind("streamed", FLUX_512, 28, share=1, callers=TEAM, streams=True),
    Kind("print", FLUX, 28, share=1, callers=TEAM),
)
PAIRS = (("sd", "sdxl"), ("flux", "sd"), ("sdxl", "flux"))
MIXED_BOX = Box(devices=8, models_kept=2, resident=PAIRS)

SCENARIOS: dict[str, Scenario] = {
    "light": Scenario(
        "8 and 40 steps, company nearly free", short_and_long(LAUNCH_BOUND), 0.8, _one("light")
    ),
    "heavy": Scenario(
        "8 and 40 steps, company brings nothing", short_and_long(PROPORTIONAL), 0.8, _one("heavy")
    ),
    "flux": Scenario(
        "8 and 40 steps, FLUX.1 at 1024: company brings 7 %", short_and_long(FLUX), 0.8,
        _one("flux"), lasts_s=6 * 3600.0,
    ),
    "equal": Scenario(
        "equal jobs, company brings nothing", one_kind(PROPORTIONAL), 0.8, _one("heavy")
    ),
    "overload": Scenario(
        "1.5 times what one at a time can do: 12, 20 and 28 steps", three_lengths(LAUNCH_BOUND),
        1.5, _one("light"),
    ),
    "overload, equal": Scenario(
        "1.5 times what one at a time can do: 20 steps", one_kind(LAUNCH_BOUND), 1.5, _one("light")
    ),
    "bursts": Scenario(
        "bursts of five times as many", short_and_long(SDXL), 0.8, _one("sdxl"),
        lasts_s=6 * 3600.0, pace="bursts",
    ),
    "mixed": Scenario("five kinds, eight devices that hold two models", MIX, 0.7, MIXED_BOX),
    "fleet": Scenario(
        "the same on 100 devices, with bursts", MIX, 0.7, replace(MIXED_BOX, devices=100),
        lasts_s=600.0, pace="bursts",
    ),
    "day": Scenario(
        "a day of 1,000 devices: FLUX.1 at 1024", (
            Kind("draft", FLUX, 14, share=1), Kind("picture", FLUX, 28, share=2),
            Kind("print", FLUX, 50, share=1),
        ), 0.5, replace(MIXED_BOX, devices=1000, models_kept=1, resident=(("flux",),)),
        lasts_s=DAY_S, pace="daily",
    ),
}  # fmt: skip
