"""Bodies with pictures, and the pictures that they point to -> open files.

Large bodies wait on the disk and are parsed in a thread: so memory holds a few of them at once.
Knows where bytes come from; not what is in them.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import IO, Any

from starlette.requests import Request

from server.errors import FileNotStored, InvalidValue
from server.keeping.files import Files
from server.prompts.moderations import MOST_PARTS
from server.reading.body import chunks, content_type, parse_json, refuse_length, unsupported
from server.reading.data_urls import decode_data_url, is_data_url
from server.reading.endpoints import EDITS, JSON_EDITS, MOST_IMAGES, Endpoint
from server.reading.fetch import fetch
from server.reading.form import read_form
from server.reading.references import LONGEST_URL, FileId, Reference, Url
from server.reading.spool import Scratch, Sent
from server.reading.uploads import Upload
from server.services import Services

JSON_LIMIT = 64 << 20
"""Bytes of an edit or a moderation in JSON, with the data URLs in it."""


async def read_edit(request: Request, services: Services) -> tuple[Endpoint, Sent]:
    """The body of an edit, a form or JSON, and what such a body may have in it."""
    match content_type(request):
        case "multipart/form-data":
            files = {"image": MOST_IMAGES, "mask": 1}
            return EDITS, await read_form(request, services.scratch, files)
        case "application/json":
            return JSON_EDITS, await _read_json(request, services.scratch, "images", "mask")
        case _:
            raise unsupported(request, "multipart/form-data", "application/json")


async def read_one_file(request: Request, services: Services, name: str) -> Sent:
    """The form of an endpoint that takes one file."""
    if content_type(request) != "multipart/form-data":
        raise unsupported(request, "multipart/form-data")
    return await read_form(request, services.scratch, {name: 1})


async def read_moderation(request: Request, services: Services) -> Sent:
    """The JSON of a moderation, which may have data URLs in it."""
    if content_type(request) != "application/json":
        raise unsupported(request, "application/json")
    return await _read_json(request, services.scratch, "input")


async def open_all(
    references: Sequence[Reference], opened: ExitStack, services: Services, caller: str
) -> list[Upload]:
    """The pictures that a request points to; raises an InvalidRequest for one that is not there."""
    uploads = []
    for index, reference in enumerate(references):
        match reference:
            case Upload():
                uploads.append(reference)
            case FileId(id, param):
                file = await _in_thread(
                    services.scratch, _stored, services.files, id, caller, param
                )
                opened.callback(file.close)
                uploads.append(Upload(file, param, number=index + 1))
            case Url(url, param):
                if not services.config.allow_image_urls:
                    raise _no_urls(param)
                file = services.scratch.new()
                opened.callback(file.close)
                await fetch(url, file, services.scratch)
                uploads.append(Upload(file, param, number=index + 1))
    return uploads


async def _read_json(request: Request, scratch: Scratch, *names: str) -> Sent:
    refuse_length(request, JSON_LIMIT)
    with scratch.new() as body, ExitStack() as opened:
        async for chunk in chunks(request, JSON_LIMIT):
            await scratch.write(body, chunk)
        parameters = await _in_thread(scratch, _parse, body, scratch, opened, names)
        return Sent(parameters, opened.pop_all())


def _parse(
    body: IO[bytes], scratch: Scratch, opened: ExitStack, names: Sequence[str]
) -> dict[str, object]:
    """The parameters, with open files in place of the data URLs in those of these names."""
    body.seek(0)
    parameters = parse_json(body.read())
    for param, number, member in _members({name: parameters.get(name) for name in names}):
        key = "image_url" if "image_url" in member else "url"
        url = member.get(key)
        if isinstance(url, str) and is_data_url(url) and len(url) <= LONGEST_URL:
            file = scratch.new()
            opened.callback(file.close)
            file.write(decode_data_url(url))
            member[key] = Upload(file, f"{param}.{key}", number=number)
    return parameters


def _members(parameters: dict[str, Any]) -> Iterator[tuple[str, int, dict[str, Any]]]:
    images, mask = parameters.get("images"), parameters.get("mask")
    for index, image in enumerate(images[:MOST_IMAGES] if isinstance(images, list) else []):
        if isinstance(image, dict):
            yield f"images[{index}]", index + 1, image
    if isinstance(mask, dict):
        yield "mask", 1, mask
    parts = parameters.get("input")
    for index, part in enumerate(parts[:MOST_PARTS] if isinstance(parts, list) else []):
        if isinstance(part, dict) and isinstance(part.get("image_url"), dict):
            yield f"input[{index}].image_url", index + 1, part["image_url"]


def _stored(files: Files, id: str, caller: str, param: str) -> IO[bytes]:
    try:
        return files.path(files.find(id, caller)).open("rb")
    except (FileNotStored, OSError):
        raise InvalidValue(f"Invalid value: there is no file '{id[:100]}'.", param) from None


def _no_urls(param: str) -> InvalidValue:
    return InvalidValue(
        "This server does not fetch images from URLs. Send the image as a data URL "
        "('data:image/png;base64,…'), as the id of a file, or as multipart/form-data.",
        param,
    )


async def _in_thread(scratch: Scratch, work: Any, *arguments: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(scratch.threads, work, *arguments)
