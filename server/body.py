"""Reading a request's body: never more than the limit, and never anything but strict JSON.

Knows bytes and JSON; not what the parameters in them mean.
"""

import json
from typing import NoReturn

from starlette.requests import ClientDisconnect, Request

from server import errors

JSON_LIMIT = 1 << 20

_UNREADABLE = (
    "We could not parse the JSON body of your request. (HINT: This likely means you aren't using "
    "your HTTP library correctly. The API expects a JSON payload, but what was sent was not valid "
    "JSON: {reason}.)"
)


async def read_json(request: Request) -> dict[str, object]:
    """The JSON object in the body; raises an InvalidRequest for everything else."""
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise errors.UnsupportedContentType(
            f"Unsupported content type: '{content_type[:100]}'. This API method only accepts "
            "'application/json' requests, but you specified the header 'Content-Type: "
            f"{content_type[:100]}'. Please try again with a supported content type."
        )
    return _parse(await _read(request, JSON_LIMIT))


async def _read(request: Request, limit: int) -> bytes:
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise _too_large(limit)
    except ClientDisconnect as error:
        raise errors.ClientDisconnected from error
    return bytes(body)


def _too_large(limit: int) -> errors.BodyTooLarge:
    return errors.BodyTooLarge(f"The request body is too large: the limit is {limit} bytes.")


def _parse(body: bytes) -> dict[str, object]:
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
