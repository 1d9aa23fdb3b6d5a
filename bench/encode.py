"""What delivering a picture costs: darkroom's PNG writer beside Pillow's, and base64 in JSON.

Milliseconds of one core, medians over the rounds, for a picture that compresses as a photograph.

    python -m bench.encode [--rounds 15] [--size 1024]
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from io import BytesIO

import orjson
import pybase64
from PIL import Image as Pillow

from pipelines.core import Image, Job
from server.handover.encode import encode
from server.reading.contract import Delivery
from tests.server.fakes import picture


def main() -> None:
    """Measure each way in turn, round by round, and print the table."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=15)
    arguments.add_argument("--size", type=int, default=1024, help="pixels an edge")
    asked = arguments.parse_args()
    image = photograph(asked.size)
    ours = encode(image, Delivery(size=(asked.size, asked.size)), {})
    ways: dict[str, Callable[[], bytes]] = {
        "PNG, darkroom": lambda: encode(image, Delivery(size=(asked.size, asked.size)), {}),
        "PNG, Pillow, default (6)": lambda: pillow_png(image, 6),
        "PNG, Pillow, level 1": lambda: pillow_png(image, 1),
        "base64 and JSON": lambda: orjson.dumps({"b64_json": pybase64.b64encode_as_string(ours)}),
    }
    spent: dict[str, list[float]] = {name: [] for name in ways}
    sizes = {name: len(way()) for name, way in ways.items()}
    for _ in range(asked.rounds):
        for name, way in ways.items():
            spent[name].append(core_ms(way))
    report(asked.size, spent, sizes)


def photograph(size: int) -> Image:
    """A smooth picture with a little grain."""
    return picture(
        Job(id="", model="", prompt="", width=size, height=size, seed=3, steps=1, guidance_scale=1)
    )


def pillow_png(image: Image, level: int) -> bytes:
    """What Pillow makes of the same pixels."""
    file = BytesIO()
    picture = Pillow.frombytes("RGB", (image.width, image.height), bytes(image.pixels))
    picture.save(file, "png", compress_level=level)
    return file.getvalue()


def core_ms(way: Callable[[], bytes]) -> float:
    """Milliseconds of this thread's own time: others on the machine do not count."""
    began = time.thread_time()
    way()
    return (time.thread_time() - began) * 1000


def report(size: int, spent: dict[str, list[float]], sizes: dict[str, int]) -> None:
    """The table, in Markdown."""
    print(f"{size}x{size}, {platform.machine()}, {os.cpu_count()} cores\n")
    print("| way | ms of one core, median | bytes, against Pillow's default |")
    print("|---|---|---|")
    default = sizes["PNG, Pillow, default (6)"]
    for name, times in spent.items():
        print(f"| {name} | {statistics.median(times):.1f} | {sizes[name] / default:.2f} |")


if __name__ == "__main__":
    main()
