"""Who waits how long: the product's queue and policy against FIFO, static and continuous batching.

Simulated devices and clients; everything that decides is the code that serves. The same seed gives
the same numbers.

    python -m bench.simulate [light heavy ...] [--seed 1] [--rounds 5] [--draw docs/img]
"""

import argparse
import os
import platform
import time
from dataclasses import replace
from pathlib import Path

from bench.simulation.constants import constants
from bench.simulation.ratios import RATIOS, ratio_line
from bench.simulation.run import Result
from bench.simulation.scenarios import SCENARIOS, Scenario
from bench.simulation.ways import WAYS

HEADER = f"{'':12}{'':14}{'images':>8}{'mean':>9}{'p50':>9}{'p95':>9}{'p99':>9}  busy"


def main() -> None:
    asked = _arguments()
    print(f"{platform.machine()}, {os.cpu_count()} cores; simulated; seed {asked.seed}")
    with constants(asked.ageing, asked.stretch):
        for name in asked.scenarios or [name for name in SCENARIOS if name != "day"]:
            scenario = SCENARIOS[name]
            if asked.lasts:
                scenario = replace(scenario, lasts_s=asked.lasts)
            show(name, scenario, asked.seed)
        if not asked.scenarios:
            for ratio in RATIOS:
                print(ratio_line(ratio, range(asked.seed, asked.seed + asked.rounds)))
    if asked.draw:
        from bench.simulation.draw import draw

        draw(asked.draw, asked.seed)


def _arguments() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("scenarios", nargs="*", help=f"of {', '.join(SCENARIOS)}; all but day")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--rounds", type=int, default=5, help="seeds, of the ratios")
    arguments.add_argument("--lasts", type=float, help="simulated seconds of each")
    arguments.add_argument("--draw", type=Path, help="the folder for the pictures")
    arguments.add_argument("--ageing", type=float, help="instead of the product's")
    arguments.add_argument("--stretch", type=float, help="instead of the product's")
    return arguments.parse_args()


def show(name: str, scenario: Scenario, seed: int) -> None:
    """Every way under the same requests."""
    print(f"\n{name}: {scenario.title}; load {scenario.load:g}, {scenario.pace}")
    print(HEADER)
    for way, make in WAYS.items():
        begun = time.perf_counter()
        result = scenario.run(make(), seed)
        rows(way, result, time.perf_counter() - begun)


def rows(way: str, result: Result, took_s: float) -> None:
    """A line for each kind of request, seconds; of the whole, how busy the devices were."""
    *kinds, last = result.figures().items()
    for kind, f in [*kinds, last]:
        numbers = f"{f.mean:9.3f}{f.p50:9.3f}{f.p95:9.3f}{f.p99:9.3f}"
        whole = f"  {result.busy:4.0%}   simulated in {took_s:.1f} s" if kind == last[0] else ""
        print(f"{way:12}{kind:14}{f.images:8}{numbers}{whole}")


if __name__ == "__main__":
    main()
