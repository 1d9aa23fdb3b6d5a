"""Pictures of what was simulated: latency against load, and of every kind of a mix of requests."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.simulation.run import Figures
from bench.simulation.scenarios import SCENARIOS, Scenario
from bench.simulation.ways import WAYS

COLOURS = {"FIFO": "#999999", "static": "#d99a2b", "continuous": "#4c8bbf", "ours": "#b8324f"}
LINES = {"FIFO": "-", "static": "-", "continuous": "--", "ours": "-"}
LOADS = (0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4)
ROWS = {
    "light": "company nearly free (launch-bound)",
    "heavy": "company brings nothing (compute-bound)",
}
COLUMNS = (
    ("short", "p95", "8 steps, p95"),
    ("long", "p95", "40 steps, p95"),
    ("all", "mean", "all, mean"),
)


def draw(folder: Path, seed: int) -> None:
    """Write every picture into a folder; small enough for a page."""
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    by_load(folder / "simulation_load.png", seed)
    by_kind(folder / "simulation_kinds.png", seed)


def by_load(path: Path, seed: int) -> None:
    """Latency against load, for two shapes; a row of panels each."""
    figure, panels = plt.subplots(len(ROWS), len(COLUMNS), figsize=(9, 5.2), sharex=True)
    for (name, title), row in zip(ROWS.items(), panels, strict=True):
        found = {way: list(_over_loads(SCENARIOS[name], way, seed)) for way in WAYS}
        for (kind, figure_of, what), axes in zip(COLUMNS, row, strict=True):
            for way, figures in reversed(found.items()):
                seconds = [getattr(each[kind], figure_of) for each in figures]
                axes.plot(LOADS, seconds, LINES[way], color=COLOURS[way], label=way)
            axes.set_yscale("log")
            above = title if axes is row[0] else ""
            axes.set_title(f"{above}\n{what}", loc="left", fontsize=9)
    for axes in panels[-1]:
        axes.set_xlabel("load, of one job at a time")
    _save(figure, panels[:, 0], path)


def _over_loads(scenario: Scenario, way: str, seed: int) -> Iterator[dict[str, Figures]]:
    for load in LOADS:
        yield replace(scenario, load=load, lasts_s=1800.0).run(WAYS[way](), seed).figures()


def by_kind(path: Path, seed: int) -> None:
    """Median, p95 and p99 of every kind of request, on eight devices with mixed models."""
    figures = {way: SCENARIOS["mixed"].run(make(), seed).figures() for way, make in WAYS.items()}
    kinds = list(figures["ours"])
    plot, axes = plt.subplots(figsize=(9, 3.2))
    for index, (way, found) in enumerate(figures.items()):
        at = [place + 0.2 * (index - 1.5) for place in range(len(kinds))]
        p50, p95, p99 = ([getattr(found[k], p) for k in kinds] for p in ("p50", "p95", "p99"))
        axes.bar(at, p95, 0.18, color=COLOURS[way], label=way)
        axes.scatter(at, p50, color="white", edgecolor="black", s=14, zorder=3)
        axes.scatter(at, p99, color="black", marker="_", s=40, zorder=3)
    axes.set_xticks(range(len(kinds)), kinds)
    axes.set_yscale("log")
    axes.set_title("bar: p95, circle: median, dash: p99", loc="left", fontsize=9)
    _save(plot, [axes], path)


def _save(figure: Figure, labelled: Sequence[Axes], path: Path) -> None:
    for axes in labelled:
        axes.set_ylabel("seconds")
    labelled[0].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110, pil_kwargs={"optimize": True})
    plt.close(figure)
