"""A job's pixels as the PIL images that diffusers takes."""

import PIL.Image

from pipelines.core import Job


def rgb(job: Job) -> PIL.Image.Image:
    """The source image; already of the job's size."""
    assert job.source is not None
    return PIL.Image.frombytes("RGB", (job.width, job.height), bytes(job.source.pixels))


def references(job: Job) -> list[PIL.Image.Image]:
    """What is looked at beside it, in sizes of their own."""
    return [
        PIL.Image.frombytes("RGB", (it.width, it.height), bytes(it.pixels)) for it in job.references
    ]


def mask(job: Job) -> PIL.Image.Image:
    """The mask as diffusers wants it: white (255) is repainted, black stays."""
    assert job.mask is not None
    return PIL.Image.frombytes("L", (job.width, job.height), job.mask)
