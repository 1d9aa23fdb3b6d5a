"""The pictures of a question about them -> what can be looked at, of a moderate size.

Knows how pictures are sent and decoded; not what is seen in them.
"""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack

from pipelines.questions import Seen
from server.answering.inbox import open_all
from server.reading.references import Reference
from server.reading.region import whole_canvas
from server.reading.uploads import Upload, decode
from server.services import Services

LONGEST_SIDE = 512
"""Of what is looked at; classifiers look at less."""


async def view(
    references: Sequence[Reference], opened: ExitStack, services: Services, caller: str
) -> list[Seen]:
    """The pictures, one of the whole server decoded at a time; raises an InvalidRequest for what is
    none."""
    loop = asyncio.get_running_loop()
    uploads = await open_all(references, opened, services, caller)
    return [await loop.run_in_executor(services.viewing, _seen, upload) for upload in uploads]


def _seen(upload: Upload) -> Seen:
    picture = decode(upload)
    scale = min(1.0, LONGEST_SIDE / max(picture.size))
    width, height = (max(1, round(side * scale)) for side in picture.size)
    image = whole_canvas(picture, None).source((width, height))
    return Seen(image.width, image.height, bytes(image.pixels))
