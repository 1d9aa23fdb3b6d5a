"""How well the demo model follows held-out prompts, by plain measurement of its images."""

import argparse
import time
from datetime import date
from pathlib import Path

from diffusers import FluxPipeline

from tools.train_demo.evaluate import contact_sheet, draw_all, held_out, table
from tools.train_demo.measure import measure, verdict


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=Path("weights/demo"))
    parser.add_argument("--count", type=int, default=512)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shift", type=float, help="the noise scheduler's, not the shipped one")
    parser.add_argument("--failures", action="store_true", help="show only what is wrong")
    parser.add_argument("--sheet", type=Path, default=Path("docs/img/demo_quality.png"))
    return parser.parse_args()


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
    asked = held_out(options.count, options.seed)
    begun = time.perf_counter()
    images = draw_all(pipeline, [text for _, text, _ in asked], options.steps, options.batch)
    each = (time.perf_counter() - begun) / len(asked)
    pairs = zip(asked, measure(images), strict=True)
    verdicts = [(said, language, verdict(said, seen)) for (said, _, language), seen in pairs]
    print(f"{date.today()}, {len(asked)} prompts, {options.steps} steps, {each:.3f} s an image\n")
    print(table(verdicts))
    wrong = [index for index, (*_, found) in enumerate(verdicts) if not all(found.values())]
    for index in wrong if options.failures else []:
        found = verdicts[index][2]
        print(asked[index][1], "|", [name for name, right in found.items() if not right])
    contact_sheet(images[wrong[:64]] if options.failures else images[:64], options.sheet)


if __name__ == "__main__":
    main()
