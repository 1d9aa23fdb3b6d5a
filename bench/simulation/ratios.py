"""What the policy has to show against its rivals: one number a seed, and what is wanted of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from bench.simulation.scenarios import SCENARIOS
from bench.simulation.ways import WAYS


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ours against a rival, in one figure of one kind of request."""

    scenario: str
    kind: str
    figure: str
    rival: str
    at_most: float

    def of(self, seed: int) -> float:
        """Under the same requests."""
        scenario = SCENARIOS[self.scenario]
        ours, theirs = (
            getattr(scenario.run(WAYS[way](), seed).figures()[self.kind], self.figure)
            for way in ("ours", self.rival)
        )
        return float(ours / theirs)


RATIOS = (
    Ratio("light", "short", "p95", "FIFO", 0.2),
    Ratio("light", "long", "p95", "FIFO", 1.3),
    Ratio("heavy", "short", "p95", "FIFO", 0.2),
    Ratio("heavy", "long", "p95", "FIFO", 1.3),
    Ratio("equal", "images", "mean", "FIFO", 1.05),
    Ratio("overload", "all", "p95", "static", 0.6),
    Ratio("overload, equal", "images", "p95", "static", 0.6),
    Ratio("flux", "short", "p95", "FIFO", 0.2),
    Ratio("flux", "long", "p95", "FIFO", 1.3),
)


def ratio_line(ratio: Ratio, seeds: Iterable[int]) -> str:
    """The median over the seeds, and how far they are apart."""
    found = [ratio.of(seed) for seed in seeds]
    what = f"{ratio.scenario}, {ratio.kind}: {ratio.figure} of ours / {ratio.rival}"
    spread = f"(from {min(found):.2f} to {max(found):.2f}; wanted: at most {ratio.at_most:g})"
    return f"{what:48} {median(found):5.2f}  {spread}"
