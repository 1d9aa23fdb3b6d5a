"""The headers of every answer, and the answer to what nobody foresaw.

The outermost layer around the routes: it numbers a request, times it, and turns an exception that
no handler knows into a 500 whose details are in the log alone. Knows nothing of images.
"""

import logging
from time import perf_counter
from uuid import uuid4

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.answering.accounts import refused
from server.handover.responses import error_response

MODEL = "x-darkroom-model"
SERVED_AS = "x-darkroom-served-as"
SEEDS = "x-darkroom-seeds"
IGNORED = "x-darkroom-ignored"
REWRITE = "x-darkroom-rewrite"
UNREAD = "x-darkroom-unread"

CONSTANT = {
    "openai-version": "2020-10-01",
    "x-content-type-options": "nosniff",
    "access-control-expose-headers": "X-Request-ID, Retry-After, Retry-After-Ms, X-Should-Retry, "
    "OpenAI-Processing-Ms, X-RateLimit-Limit-Images, X-RateLimit-Remaining-Images, "
    "X-RateLimit-Reset-Images, "
    f"{MODEL}, {SERVED_AS}, {SEEDS}, {IGNORED}, {REWRITE}, {UNREAD}",
}

_log = logging.getLogger(__name__)


class Envelope:
    """An ASGI layer: a request goes in bare and its answer comes out with all headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the request inside, and dress whatever comes out."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        request_id = f"req_{uuid4().hex}"
        scope.setdefault("state", {})["request_id"] = request_id
        began = perf_counter()
        started = False

        async def dress(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers.update(CONSTANT)
                headers["x-request-id"] = request_id
                headers["openai-processing-ms"] = str(round((perf_counter() - began) * 1000))
            await send(message)

        try:
            await self._app(scope, receive, dress)
        except Exception as error:
            _log.exception("%s %s %s failed", request_id, scope["method"], scope["path"])
            if not started:
                await error_response(error)(scope, receive, dress)
            refused(Request(scope), error)
