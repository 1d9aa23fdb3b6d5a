"""A job's pixels -> the file that the client asked for.

Pure functions, to be called off the event loop. Knows sizes and formats; not where a file goes.
"""

from collections.abc import Mapping
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from pipelines.core import Image, Job
from server.handover.png import write_png
from server.reading.contract import Delivery, OutputFormat
from server.reading.resize import fit

SUFFIXES: Mapping[OutputFormat, str] = {"png": "png", "jpeg": "jpg", "webp": "webp"}
"""How the name of a file of each format ends."""

_BEST_JPEG = 95  # above it a JPEG grows and looks the same


def encode(image: Image, delivery: Delivery, texts: Mapping[str, str]) -> bytes:
    """The image in the size and format of the delivery."""
    canvas = delivery.canvas
    pixels = canvas.paint(image) if canvas else fit(_pixels(image), delivery.size)
    if delivery.output_format == "png":
        return write_png(pixels, texts)
    file = BytesIO()
    best = _BEST_JPEG if delivery.output_format == "jpeg" else 100
    quality = min(delivery.compression, best)
    Pillow.fromarray(pixels).save(file, delivery.output_format, quality=quality)
    return file.getvalue()


def texts_of(job: Job) -> dict[str, str]:
    """What a PNG says of how it was made."""
    texts = {
        "prompt": job.prompt,
        "model": job.model,
        "seed": str(job.seed),
        "steps": str(job.steps),
        "guidance_scale": f"{job.guidance_scale:g}",
        "software": "darkroom",
    }
    if job.loras:
        texts["loras"] = ", ".join(f"{it.name}: {it.scale:g}" for it in job.loras)
    if job.negative_prompt:
        texts["negative_prompt"] = job.negative_prompt
    return texts


def _pixels(image: Image) -> NDArray[np.uint8]:
    return np.frombuffer(image.pixels, np.uint8).reshape(image.height, image.width, -1)
