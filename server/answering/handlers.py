"""Exceptions of the routes -> the contract's answers, and what of them the operator's log keeps."""

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from pipelines.core import JobError
from server.answering.accounts import refused
from server.answers import answer
from server.errors import ApiError, MethodNotSupported, UnknownPath
from server.handover.responses import error_response

Handlers = dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]]

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

_log = logging.getLogger(__name__)


def handlers() -> Handlers:
    """Which handler answers which exception; the rest is left to `headers.Envelope`."""
    return {ApiError: _told, JobError: _told, HTTPException: _unrouted}


def record(request: Request, error: Exception) -> None:
    """Have an error counted that a client is told, and log what the server is to blame for."""
    request.state.error = error
    refused(request, error)
    if answer(error).status >= 500:
        foreseen = isinstance(error, ApiError | JobError)
        cause = error.__cause__ if foreseen else error
        request_id = request.state.request_id
        _log.error("%s: %s: %s", request_id, type(error).__name__, error, exc_info=cause)


async def _told(request: Request, error: Exception) -> Response:
    record(request, error)
    return error_response(error)


async def _unrouted(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        return error_response(MethodNotSupported(_allowed(request)))
    return error_response(UnknownPath(f"Invalid URL ({request.method} {request.url.path})"))


def _allowed(request: Request) -> str:
    """Every method of the path: a route knows its own alone, and paths have several routes."""

    def fits(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)

    return ", ".join(method for method in _METHODS if fits(method))
