"""Every request counted when it is over: its route, its model, what it was answered, how long.

The outermost layer around the app. Knows what the layers below left in the request's scope; what
becomes of the numbers is known to `metrics`.
"""

from time import perf_counter
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.answers import answer
from server.errors import QueueFull, RateLimited
from server.metrics.metrics import Metrics
from server.refusals import Refused

NO_ROUTE = "none"
"""What no endpoint has answered is one route: paths are made up by whoever asks."""

_UNREAD = 499


class Metering:
    """An ASGI layer that changes nothing."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the request inside, and count it, however it ends."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        status = _UNREAD
        began = perf_counter()

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            self._count(scope, status, perf_counter() - began)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        state: dict[str, Any] = scope.get("state", {})
        _, model = state.get("asked", ("", ""))
        route = getattr(scope.get("route"), "path", NO_ROUTE)
        error = state.get("error")
        if isinstance(error, QueueFull | RateLimited):
            self._metrics.refused(error.reason)
        if isinstance(error, Refused):
            self._metrics.not_allowed(error.stage, error.categories)
        # A stream that fails has begun with 200.
        status = answer(error).status if error else status
        self._metrics.answered(route, model, status, seconds)
