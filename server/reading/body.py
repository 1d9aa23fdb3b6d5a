"""Reading a request's body: never more than the limit, and never anything but strict JSON.

Knows bytes and JSON; not what the parameters in them mean.
"""

import json
from collections.abc import AsyncIterator
from typing import NoReturn

from starlette.requests import ClientDisconnect, Request

from server import errors
from server.reading.kinds import listed

JSON_LIMIT = 1 << 20

_UNREADABLE = (
    "We could not parse the JSON body of your request. (HINT: This likely means you aren't using "
    "your HTTP library correctly. The API expects a JSON payload, but what was sent was not valid "
    "JSON: {reason}.)"
)


async def read_json(request: Request) -> dict[str, object]:
    """The JSON object in the body; raises an InvalidRequest for everything else."""
    if content_type(request) != "application/json":
        raise unsupported(request, "application/json")
    return parse_json(await _read(request, JSON_LIMIT))


def content_type(request: Request) -> str:
    """The type of the body, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def unsupported(request: Request, *accepted: str) -> errors.UnsupportedContentType:
    """The refusal of a body of a type that the endpoint does not take."""
    sent = request.headers.get("content-type", "")[:100]
    return errors.UnsupportedContentType(
        f"Unsupported content type: '{sent}'. This API method only accepts "
        f"{listed(accepted, 'or')} requests, but you specified the header 'Content-Type: {sent}'. "
        "Please try again with a supported content type."
    )


async def chunks(request: Request, limit: int) -> AsyncIterator[bytes]:
    """The body as it arrives; raises BodyTooLarge once it is longer than the limit."""
    received = 0
    try:
        async for chunk in request.stream():
            received += len(chunk)
            if received > limit:
                raise _too_large(limit)
            if chunk:
                yield chunk
    except ClientDisconnect as error:
        raise errors.ClientDisconnected from error


def refuse_length(request: Request, limit: int) -> None:
    """Raise BodyTooLarge before anything is read, if the body is known to be too long."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > limit:
        raise _too_large(limit)


async def _read(request: Request, limit: int) -> bytes:
    refuse_length(request, limit)
    return b"".join([chunk async for chunk in chunks(request, limit)])


def _too_large(limit: int) -> errors.BodyTooLarge:
    return errors.BodyTooLarge(f"The request body is too large: the limit is {limit} bytes.")


def parse_json(body: bytes) -> dict[str, object]:
    """The JSON object in a body; raises UnreadableBody."""
    try:
        parsed = json.loads(
            body.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse_constant
        )
        json.dumps(parsed, ensure_ascii=False).encode("utf-8")  # fails on half a surrogate pair
    except RecursionError:
        raise errors.UnreadableBody(_UNREADABLE.format(reason="it is nested too deeply")) from None
    except UnicodeError:
        raise errors.UnreadableBody(_UNREADABLE.format(reason="it is not valid UTF-8")) from None
    except ValueError as error:
        raise errors.UnreadableBody(_UNREADABLE.format(reason=error)) from None
    if not isinstance(parsed, dict):
        raise errors.UnreadableBody(_UNREADABLE.format(reason="it is not an object"))
    return parsed


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key occurs twice")
    return members


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number of JSON")
