"""The path that a client means: base URLs without `/v1` or with slashes too many, HEAD, OPTIONS."""

import re
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.answering.handlers import METHODS, is_routed, path_methods

_API = "/v1"


class Paths:
    """ASGI middleware that serves a path under which there is nothing as the one that it means."""

    def __init__(self, app: ASGIApp, public_url: str | None = None) -> None:
        self._app = app
        self._public_prefix = urlsplit(public_url).path.rstrip("/") if public_url else ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Route a copy of the scope, so that the log keeps the path that was sent."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        prefixes = (scope.get("state", {}).get("prefix", ""), self._public_prefix)
        routed = {**scope, "path": _meant(scope, prefixes)}
        if scope["method"] == "OPTIONS":
            methods = METHODS if scope["path"] == "*" else path_methods(routed)
            if methods:
                allow = {"allow": ", ".join(methods)}
                return await Response(status_code=204, headers=allow)(scope, receive, send)
        if scope["method"] == "HEAD" and not is_routed(routed):
            if is_routed({**routed, "method": "GET"}):
                routed["method"], send = "GET", _without_body(send)
        try:
            await self._app(routed, receive, send)
        finally:
            found = routed.keys() - scope.keys()
            scope.update({key: routed[key] for key in found})


def _meant(scope: Scope, prefixes: Sequence[str]) -> str:
    """Choose the first spelling of a path for which there is a route; else the path as it is."""
    path: str = scope["path"]
    method = "GET" if scope["method"] == "HEAD" else scope["method"]
    plain = "/" + "/".join(part for part in path.split("/") if part)
    spellings = list(dict.fromkeys(_spellings(plain, prefixes)))
    for spelling in spellings:
        if is_routed({**scope, "method": method, "path": spelling}):
            return spelling
    return next((each for each in spellings if path_methods({**scope, "path": each})), path)


def _spellings(path: str, prefixes: Sequence[str]) -> Iterator[str]:
    for prefix in prefixes:
        if prefix and path.startswith(f"{prefix}/"):
            yield from _spellings(path.removeprefix(prefix), ())
    yield path
    yield re.sub(rf"^({_API})+(?={_API}/)", "", path)
    yield _API + path


def _without_body(send: Send) -> Send:
    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return send_head
