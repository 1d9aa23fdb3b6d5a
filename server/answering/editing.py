"""A checked request and its pictures -> the whole request, with a canvas to work on.

Knows what a family makes of pictures, masks and fidelity; decoding them blocks, and is done in a
thread, one picture at a time.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from pipelines.core import Image, Task
from pipelines.registry import ModelSpec, NativeSize, Registry
from server.answering.inbox import open_all
from server.errors import InvalidValue
from server.reading.contract import Checked, ImageRequest, no_matting
from server.reading.region import Canvas, canvas_of, whole_canvas
from server.reading.spool import Sent
from server.reading.uploads import Picture, Upload, decode, is_large
from server.services import Services

Opened = tuple[list[Upload], list[Upload]]
"""Images, and at most one mask."""

_FAITHFUL = 0.75
"""What high `input_fidelity` leaves of a default strength."""
_LOOKED_AT = NativeSize(smallest=256, largest=1024, multiple=16)
"""What the families that look at several pictures make of each, or can do with."""


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
    large = await loop.run_in_executor(services.threads, _any_large, opened)
    threads = services.large if large else services.threads
    return await loop.run_in_executor(threads, work, checked, opened, services.registry)


def _any_large(opened: Opened) -> bool:
    return any(is_large(upload) for uploads in opened for upload in uploads)


def _edit(checked: Checked, opened: Opened, registry: Registry) -> ImageRequest:
    images, masks = opened
    picture = decode(images[0])
    others = [_reference(decode(image)) for image in images[1:]]  # one is large at a time
    mask = decode(masks[0]) if masks else None
    crop = checked.values.get("crop", True)
    canvas = canvas_of(picture, mask, checked.size, crop, checked.transparent)
    if checked.transparent and not (registry.matting or canvas.stays_clear):
        raise no_matting()
    model, task = _work(checked, canvas, registry)
    spec = registry.models[model]
    looked_at = others[: spec.references] if task == "edit" else []
    request = checked.request(canvas)
    return replace(
        request,
        model=model,
        task=task,
        strength=1.0 if task == "edit" else _strength(checked, canvas, spec),
        references=tuple(looked_at),
        pictures=(picture.size, *((it.width, it.height) for it in looked_at)),
        ignored=(*request.ignored, *_unused(checked, 1 + len(looked_at), canvas, task)),
    )


def _work(checked: Checked, canvas: Canvas, registry: Registry) -> tuple[str, Task]:
    """Which model does an edit, and as what: an instruction where that is what it takes."""
    whole = canvas.repaint is None
    base = registry.resolve(checked.name, ("img2img", "edit") if whole else ("inpaint", "edit"))
    if base is None:
        which = "without a mask" if whole else "with a mask"
        raise InvalidValue(
            f"The model '{checked.asked}' does not support image edits {which}.", "model"
        )
    model = registry.specialist(base, "edit" if whole else "inpaint")
    tasks = registry.models[model].tasks
    if not whole:
        return model, "inpaint" if "inpaint" in tasks else "edit"
    # An entry whose `edit` is its own id is instructed, too.
    instructed = registry.models[base].edit == model or "img2img" not in tasks
    return model, "edit" if instructed else "img2img"


def _reference(picture: Picture) -> Image:
    """A picture that is only looked at, in a size and shape in which it can be."""
    size = _LOOKED_AT.nearest(*picture.size)
    return whole_canvas(picture, size).source(size)


def _variation(checked: Checked, opened: Opened, registry: Registry) -> ImageRequest:
    ((image,), _) = opened
    canvas = whole_canvas(decode(image), checked.size)
    spec = registry.models[checked.model]
    task: Task = "img2img" if "img2img" in spec.tasks else "edit"
    if registry.specialist(checked.model, "variation") != checked.model:
        task = "variation"
    request = checked.request(canvas)
    if task == "img2img":
        strength = checked.values.get("strength", spec.strength.variation)
        return replace(request, task=task, strength=strength)
    unused = ["strength"] if "strength" in checked.values else []
    return replace(request, task=task, ignored=(*request.ignored, *unused))


def _strength(checked: Checked, canvas: Canvas, spec: ModelSpec) -> float:
    asked: float | None = checked.values.get("strength")
    if asked is not None:
        return asked
    if canvas.repaint is not None:
        return spec.strength.inpaint
    faithful = checked.values.get("input_fidelity") == "high"
    return spec.strength.edit * (_FAITHFUL if faithful else 1)


def _unused(checked: Checked, looked_at: int, canvas: Canvas, task: Task) -> list[str]:
    """What was sent and changes nothing about these pictures."""
    values = checked.values
    name = "image" if "image" in values else "images"
    unused = [f"{name}[{index}]" for index in range(looked_at, len(values[name]))]
    settled = task == "edit" or canvas.repaint is not None or "strength" in values
    if "input_fidelity" in values and settled:
        unused.append("input_fidelity")
    if "strength" in values and task == "edit":
        unused.append("strength")
    if "crop" in values and canvas.repaint is None:
        unused.append("crop")
    return unused
