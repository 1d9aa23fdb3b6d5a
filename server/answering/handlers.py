"""Exceptions of the routes -> the contract's answers, and what of them the operator's log keeps."""

import logging
from collections.abc import Callable, Coroutine, Sequence
from difflib import get_close_matches
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from pipelines.core import JobError
from server.answering.accounts import refused
from server.answers import answer
from server.errors import ApiError, MethodNotSupported, UnknownPath
from server.handover.responses import error_response

Handlers = dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]]

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

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
        return error_response(MethodNotSupported(", ".join(path_methods(request.scope))))
    path = request.url.path
    meant = _suggestion(path, request.app.state.paths)
    hint = f"did you mean {meant}?" if meant else "GET /v1 tells what there is."
    return error_response(UnknownPath(f"Invalid URL ({request.method} {path}): {hint}"))


def path_methods(scope: Scope) -> list[str]:
    """List the methods of a path: a route knows its own alone, and a path may have several routes.

    HEAD goes with GET, and OPTIONS with any other.
    """
    found = {method for method in METHODS if is_routed({**scope, "method": method})}
    if found:
        found |= {"OPTIONS"} | ({"HEAD"} if "GET" in found else set())
    return [method for method in METHODS if method in found]


def is_routed(scope: Scope) -> bool:
    """Tell whether a route takes this method and path itself."""
    return any(route.matches(scope)[0] is Match.FULL for route in scope["app"].routes)


def _suggestion(path: str, known: Sequence[str]) -> str | None:
    """Find the endpoint whose last two segments are most like those of a path."""
    by_tail = {_tail(each): each for each in known if "{" not in each}
    for tail in (_tail(path), _tail(path).rpartition("/")[2]):
        if close := get_close_matches(tail, by_tail, n=1, cutoff=0.75):
            return by_tail[close[0]]
    return None


def _tail(path: str) -> str:
    return "/".join(path.lower().strip("/").split("/")[-2:])
