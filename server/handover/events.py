"""The frames of an event stream, as the contract has them. Pure functions; knows no connection.

event: image_generation.partial_image
data: {"type":"image_generation.partial_image", …}
<an empty line>
"""

from collections.abc import Mapping
from typing import Any

import orjson
from pybase64 import b64encode_as_string

from server.handover.responses import Result, described, error_body, usage
from server.reading.contract import ImageRequest

COMMENT = b": still here\n\n"
"""Says nothing, and keeps the connection open."""


def partial_image(wanted: ImageRequest, index: int, number: int, file: bytes, now: int) -> bytes:
    """Estimate `number`, from 0, of the image `index` of the request."""
    name = f"{wanted.event}.partial_image"
    data = {"type": name, "partial_image_index": number, "b64_json": b64encode_as_string(file)}
    return _frame(name, data | {"created_at": now} | described(wanted) | _which(wanted, index))


def completed(
    wanted: ImageRequest,
    index: int,
    result: Result,
    now: int,
    unread: Mapping[str, int] | None = None,
) -> bytes:
    """The image `index` of the request, in base64; its usage is that of this image alone.

    `unread` are the tokens of its texts that its model could not read.
    """
    name = f"{wanted.event}.completed"
    data: dict[str, Any] = {"type": name, "b64_json": result.b64_json, "created_at": now}
    data |= {"usage": usage(wanted, 1), **described(wanted)}
    if wanted.profile.describes and wanted.safety_identifier is not None:
        data["safety_identifier"] = wanted.safety_identifier
    if wanted.extensions:
        data["seed"] = result.seed
    if wanted.tells_prompt:
        data["revised_prompt"] = result.prompt
    if unread:
        data["unread"] = dict(unread)
    return _frame(name, data | _which(wanted, index))


def failed(error: Exception) -> bytes:
    """The end of a stream whose images will not all come."""
    return _frame("error", {"type": "error", "error": error_body(error)})


def _which(wanted: ImageRequest, index: int) -> dict[str, int]:
    return {"index": index} if wanted.n > 1 else {}


def _frame(name: str, data: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(data))
