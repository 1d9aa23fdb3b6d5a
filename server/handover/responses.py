"""Results and errors -> the bytes of an answer, in the shape of each profile.

Knows JSON; not where the images come from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

import orjson
from starlette.responses import Response

from pipelines.registry import Level
from server import answers
from server.reading.contract import ImageRequest
from server.refusals import ModerationBlocked
from server.retries import jittered, retry_after_headers

_TOKENS_PER_SQUARE: Mapping[Level, int] = {"low": 272, "medium": 1056, "high": 4160}
_BYTES_PER_TEXT_TOKEN = 4
_TILE = 512


@dataclass(frozen=True, slots=True)
class Result:
    """One finished image, as it is handed over."""

    seed: int
    prompt: str
    """The one that its model was given."""
    url: str | None = None
    b64_json: str | None = None


def images_body(request: ImageRequest, results: list[Result], created: int) -> bytes:
    """The body that answers a request for images."""
    data = [_entry(request, result) for result in results]
    if not request.profile.describes:
        return orjson.dumps({"created": created, "data": data})
    told = described(request)
    body: dict[str, Any] = {
        "created": created,
        "background": told["background"],
        "data": data,
        "output_format": told["output_format"],
        "quality": told["quality"],
    }
    if request.safety_identifier is not None:
        body["safety_identifier"] = request.safety_identifier
    body |= {"size": told["size"], "usage": usage(request, len(results))}
    return orjson.dumps(body, option=orjson.OPT_INDENT_2)


def described(request: ImageRequest) -> dict[str, str]:
    """What the GPT image models tell of their images: resolved, never `auto`."""
    width, height = request.delivery.size
    return {
        "size": f"{width}x{height}",
        "quality": request.quality or "medium",
        "background": "transparent" if request.delivery.transparent else "opaque",
        "output_format": request.delivery.output_format,
    }


def usage(request: ImageRequest, images: int) -> dict[str, Any]:
    """Tokens, so that bookkeeping written for the original goes on working.

    Text: the prompt's UTF-8 bytes / 4, rounded up. Pictures that were sent and looked at: see
    `picture_tokens`. Images: 272, 1056 or 4160 (low, medium, high) for each 1024x1024 pixels,
    rounded, times `images`.
    """
    text = ceil(len(request.prompt.encode()) / _BYTES_PER_TEXT_TOKEN)
    pictures = sum(picture_tokens(*size) for size in request.pictures)
    width, height = request.delivery.size
    image = round(_TOKENS_PER_SQUARE[request.level] * width * height / 1024**2) * images
    return {
        "input_tokens": text + pictures,
        "input_tokens_details": {"image_tokens": pictures, "text_tokens": text},
        "output_tokens": image,
        "output_tokens_details": {"image_tokens": image, "text_tokens": 0},
        "total_tokens": text + pictures + image,
    }


def picture_tokens(width: int, height: int) -> int:
    """65 and 129 for each tile of 512x512, once the shorter side is no longer than 512 pixels."""
    shorter = min(width, height, _TILE)
    across, down = (side * shorter // min(width, height) for side in (width, height))
    return 65 + 129 * ceil(across / _TILE) * ceil(down / _TILE)


def json_response(content: Any, status: int = 200) -> Response:
    """Plain data as JSON; keys that are numbers become text."""
    body = orjson.dumps(content, option=orjson.OPT_NON_STR_KEYS)
    return Response(body, status, media_type="application/json")


def error_body(error: Exception) -> dict[str, Any]:
    """What a client is told of an error, always with all four keys."""
    answer = answers.answer(error)
    body: dict[str, Any] = {
        "message": answers.message(error),
        "type": answer.type,
        "param": getattr(error, "param", None),
        "code": answer.code,
    }
    if isinstance(error, ModerationBlocked):
        categories = list(error.categories)
        body["moderation_details"] = {"moderation_stage": error.stage, "categories": categories}
    return body


def error_response(error: Exception) -> Response:
    """The contract's envelope for an error."""
    answer = answers.answer(error)
    response = json_response({"error": error_body(error)}, answer.status)
    response.headers.update(getattr(error, "headers", {}))
    if answer.retry_after_s:
        response.headers.update(retry_after_headers(jittered(answer.retry_after_s)))
    if not answer.retry:
        response.headers["x-should-retry"] = "false"
    return response


def _entry(request: ImageRequest, result: Result) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    if request.tells_prompt:
        entry["revised_prompt"] = result.prompt
    if result.url is not None:
        entry["url"] = result.url
    if result.b64_json is not None:
        entry["b64_json"] = result.b64_json
    if request.extensions:
        entry["seed"] = result.seed
    return entry
