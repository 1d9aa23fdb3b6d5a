"""Web pages of other sites: refused, unless the operator allows their origin.

A browser sends a form or a simple request to any address that it can reach, also to a server that
listens on the loopback address alone. So a request that changes something is refused if a page of
another origin sent it. A server without keys on a loopback address also refuses public host names:
a page whose own name is pointed to 127.0.0.1 (DNS rebinding) would be of the same origin.
"""

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from server.answering.handlers import record
from server.answering.headers import Envelope
from server.callers.auth import Keys
from server.config import Config
from server.errors import ApiError, HostNotAllowed, OriginNotAllowed
from server.handover.responses import error_response
from server.hosts import hostname, is_private_name, origin_of

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class OriginCheck:
    """ASGI middleware that refuses what a page of another site has no business to send."""

    def __init__(self, app: ASGIApp, config: Config, keys: Keys) -> None:
        self._app, self._keys = app, keys
        self._allowed = frozenset(config.cors_origins)
        self._is_local = config.is_local
        public = origin_of(config.public_url) if config.public_url else None
        self._public = public.partition("://")[2] if public else ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403 in place of the application."""
        error = self._refusal(scope) if scope["type"] == "http" else None
        if error is None:
            return await self._app(scope, receive, send)
        record(Request(scope), error)
        await Envelope(error_response(error))(scope, receive, send)

    def _refusal(self, scope: Scope) -> ApiError | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._is_known(hostname(host), scope):
            return HostNotAllowed(hostname(host))
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        preflight = origin is not None and "access-control-request-method" in headers
        if scope["method"] in _SAFE_METHODS and not preflight:
            return None
        if self._is_own(origin, site, host) or self._is_allowed(origin):
            return None
        return OriginNotAllowed(origin or "another site")

    def _is_known(self, name: str, scope: Scope) -> bool:
        return (
            is_private_name(name)
            or name == hostname(self._public)
            or not self._is_local
            or "from_proxy" in scope.get("state", {})
            or self._keys.wanted
        )

    def _is_own(self, origin: str | None, site: str | None, host: str) -> bool:
        """Tell whether no page sent it, or one of this server. Pages cannot set `sec-fetch-site`;
        schemes are not compared, since a proxy may speak another one than this server."""
        if site in ("same-origin", "none"):
            return True
        if origin is None:
            return site is None or site == "same-site"
        sent = origin_of(origin)
        if sent is None:
            return False
        scheme, _, authority = sent.partition("://")
        own = origin_of(f"{scheme}://{host}") if scheme in ("http", "https") else None
        return sent == own or (bool(self._public) and authority == self._public)

    def _is_allowed(self, origin: str | None) -> bool:
        return "*" in self._allowed or (origin is not None and origin in self._allowed)
