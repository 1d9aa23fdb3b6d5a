"""A checked request and its pictures -> the whole request, with a canvas to work on.

Knows what a family makes of pictures, masks and fidelity; decoding them blocks, and is done in a
thread, one picture at a time.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from pipelines.registry import ModelSpec, Registry
from server.contract import Checked, ImageRequest
from server.inbox import open_all
from server.region import Canvas, canvas_of, whole_canvas
from server.services import Services
from server.spool import Sent
from server.uploads import Upload, decode

Opened = tuple[list[Upload], list[Upload]]
"""Images, and at most one mask."""

_FAITHFUL = 0.75
"""What high `input_fidelity` leaves of a default strength."""


async def edit(checked: Checked, sent: Sent, services: Services, caller: str) -> ImageRequest:
    """The request for an edit; raises an InvalidRequest for what its pictures are not."""
    return await _in_thread(_edit, checked, sent, services, caller)


async def variation(checked: Checked, sent: Sent, services: Services, caller: str) -> ImageRequest:
    """The request for variations; raises an InvalidRequest for what its picture is not."""
    return await _in_thread(_variation, checked, sent, services, caller)


async def _in_thread(
    work: Callable[[Checked, Opened, Registry], ImageRequest],
    checked: Checked,
    sent: Sent,
    services: Services,
    caller: str,
) -> ImageRequest:
    values = checked.values
    images = values.get("image") or values.get("images") or ()
    opened = (
        await open_all(images, sent.opened, services, caller),
        await open_all(values.get("mask", ()), sent.opened, services, caller),
    )
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(services.threads, work, checked, opened, services.registry)


def _edit(checked: Checked, opened: Opened, registry: Registry) -> ImageRequest:
    images, masks = opened
    picture = decode(images[0])
    for other in images[1:]:  # no pipeline here takes it, but a broken one is still told
        decode(other)
    mask = decode(masks[0]) if masks else None
    crop = checked.values.get("crop", True)
    canvas = canvas_of(picture, mask, checked.size, crop)
    model = registry.specialist(checked.model, "edit" if canvas.repaint is None else "inpaint")
    request = replace(checked.request(canvas), model=model)
    # An entry whose `edit` is its own id is instructed, too.
    instructed = canvas.repaint is None and registry.models[checked.model].edit == model
    return replace(
        request,
        instructed=instructed,
        strength=1.0 if instructed else _strength(checked, canvas, registry.models[model]),
        ignored=(*request.ignored, *_unused(checked, images, canvas, instructed)),
    )


def _variation(checked: Checked, opened: Opened, registry: Registry) -> ImageRequest:
    ((image,), _) = opened
    canvas = whole_canvas(decode(image), checked.size)
    default = registry.models[checked.model].strength.variation
    return replace(checked.request(canvas), strength=checked.values.get("strength", default))


def _strength(checked: Checked, canvas: Canvas, spec: ModelSpec) -> float:
    asked: float | None = checked.values.get("strength")
    if asked is not None:
        return asked
    if canvas.repaint is not None:
        return spec.strength.inpaint
    faithful = checked.values.get("input_fidelity") == "high"
    return spec.strength.edit * (_FAITHFUL if faithful else 1)


def _unused(
    checked: Checked, images: Sequence[Upload], canvas: Canvas, instructed: bool
) -> list[str]:
    """What was sent and changes nothing about these pictures."""
    values = checked.values
    unused = [f"{'image' if 'image' in values else 'images'}[{n}]" for n in range(1, len(images))]
    settled = instructed or canvas.repaint is not None or "strength" in values
    if "input_fidelity" in values and settled:
        unused.append("input_fidelity")
    if "strength" in values and instructed:
        unused.append("strength")
    if "crop" in values and canvas.repaint is None:
        unused.append("crop")
    return unused
