"""How well the demo model follows held-out prompts, by plain measurement of its images.

There are three sets: prompts of the training grammar, phrasings outside the grammar, and large
circles, whose roundness is measured as well.
"""

import argparse
import time
from datetime import date
from pathlib import Path

import torch
from diffusers import FluxPipeline
from torch import Tensor

from tools.train_demo.evaluate import (
    Asked,
    contact_sheet,
    draw_all,
    held_out,
    held_out_phrasings,
    large_circles,
    table,
)
from tools.train_demo.measure import measure, unroundness, verdict


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=Path("weights/demo"))
    parser.add_argument("--set", choices=("grammar", "phrasings", "circles"), default="grammar")
    parser.add_argument("--count", type=int, default=512)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shift", type=float, help="the noise scheduler's, not the shipped one")
    parser.add_argument("--failures", action="store_true", help="show only what is wrong")
    parser.add_argument("--sheet", type=Path, default=Path("docs/img/demo_quality.png"))
    return parser.parse_args()


def chosen(options: argparse.Namespace) -> list[Asked]:
    """The prompts of the set."""
    if options.set == "circles":
        return large_circles()[: options.count]
    make = held_out if options.set == "grammar" else held_out_phrasings
    return make(options.count, options.seed)


def roundness(asked: list[Asked], images: Tensor) -> str:
    """The deviation of the circles' radii in words."""
    found = torch.tensor([unroundness(image, asked[i][0]) for i, image in enumerate(images)])
    share = (found <= 0.04).float().mean().item()
    return (
        f"deviation of the radius: median {100 * found.median():.1f} %, "
        f"worst {100 * found.max():.1f} %, at most 4 % in {100 * share:.0f} % of the images"
    )


def main() -> None:
    """Draws, measures, prints the table and writes the sheet."""
    options = arguments()
    pipeline = FluxPipeline.from_pretrained(options.weights)
    pipeline.set_progress_bar_config(disable=True)
    if options.shift:
        noise_scheduler = pipeline.scheduler
        pipeline.scheduler = noise_scheduler.from_config(
            noise_scheduler.config, shift=options.shift
        )
    asked = chosen(options)
    begun = time.perf_counter()
    images = draw_all(pipeline, [text for _, text, _ in asked], options.steps, options.batch)
    each = (time.perf_counter() - begun) / len(asked)
    pairs = zip(asked, measure(images), strict=True)
    verdicts = [(said, language, verdict(said, seen)) for (said, _, language), seen in pairs]
    print(f"{date.today()}, {len(asked)} prompts, {options.steps} steps, {each:.3f} s an image\n")
    print(table(verdicts))
    if options.set == "circles":
        print(roundness(asked, images))
    wrong = [index for index, (*_, found) in enumerate(verdicts) if not all(found.values())]
    for index in wrong if options.failures else []:
        found = verdicts[index][2]
        print(asked[index][1], "|", [name for name, right in found.items() if not right])
    contact_sheet(images[wrong[:64]] if options.failures else images[:64], options.sheet)


if __name__ == "__main__":
    main()
