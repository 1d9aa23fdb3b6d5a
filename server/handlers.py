"""Exceptions of the routes -> the contract's answers, and what of them the operator's log keeps."""

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pipelines.core import JobError
from server.answers import answer
from server.errors import ApiError, MethodNotSupported, UnknownPath
from server.responses import error_response

Handlers = dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]]

_log = logging.getLogger(__name__)


def handlers() -> Handlers:
    """Which handler answers which exception; the rest is left to `headers.Envelope`."""
    return {ApiError: _told, JobError: _told, HTTPException: _unrouted}


def record(request_id: str, error: Exception) -> None:
    """Put what the server is to blame for into the log."""
    if answer(error).status >= 500:
        foreseen = isinstance(error, ApiError | JobError)
        cause = error.__cause__ if foreseen else error
        _log.error("%s: %s: %s", request_id, type(error).__name__, error, exc_info=cause)


async def _told(request: Request, error: Exception) -> Response:
    record(request.state.request_id, error)
    return error_response(error)


async def _unrouted(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        return error_response(MethodNotSupported((error.headers or {}).get("Allow", "")))
    return error_response(UnknownPath(f"Invalid URL ({request.method} {request.url.path})"))
