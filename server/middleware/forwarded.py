"""Client address, scheme, host and path prefix as a trusted proxy forwards them.

The headers of any other peer are ignored: whoever may set them decides where links lead.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

from server.hosts import address, is_host

_PAIR = re.compile(r'\s*([A-Za-z]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;,"]*)\s*')
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")


@dataclass(frozen=True, slots=True)
class Hop:
    """What one proxy says of the request that it received."""

    client: str = ""
    scheme: str = ""
    host: str = ""


class Forwarded:
    """ASGI middleware that puts what trusted proxies say into the scope."""

    def __init__(self, app: ASGIApp, trusted: Sequence[str]) -> None:
        self._app = app
        self._networks = [ip_network(each, strict=False) for each in trusted]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Replace client, scheme and Host where the peer is a trusted proxy."""
        if scope["type"] == "http" and self._networks:
            peer = address((scope.get("client") or ("",))[0])
            if peer is not None and self._trusts(peer):
                self._apply(scope, peer)
        await self._app(scope, receive, send)

    def _apply(self, scope: Scope, peer: str) -> None:
        headers = Headers(scope=scope)
        client, scheme, host = self._client_hop(_hops(headers), peer)
        scope["client"] = (client, 0)
        if scheme in ("http", "https"):
            scope["scheme"] = scheme
        if host and is_host(host):
            MutableHeaders(scope=scope)["host"] = host
        state = scope.setdefault("state", {})
        state["from_proxy"] = True
        prefix = headers.get("x-forwarded-prefix", "").strip().rstrip("/")
        if _PREFIX.fullmatch(prefix):
            state["prefix"] = prefix

    def _client_hop(self, hops: Sequence[Hop], peer: str) -> tuple[str, str, str]:
        """Walk from the nearest proxy outwards, as long as each was heard from a trusted one."""
        client, scheme, host = peer, "", ""
        for hop in reversed(hops):
            scheme, host = hop.scheme or scheme, hop.host or host
            heard = address(hop.client)
            if heard is None:
                break
            client = heard
            if not self._trusts(heard):
                break
        return client, scheme, host

    def _trusts(self, peer: str) -> bool:
        return any(ip_address(peer) in network for network in self._networks)


def _hops(headers: Headers) -> list[Hop]:
    """Read the chain of proxies, the nearest last. X-Forwarded-* go before Forwarded."""
    clients, schemes, hosts = (
        _items(headers, f"x-forwarded-{name}") for name in ("for", "proto", "host")
    )
    if clients or schemes or hosts:
        length = max(len(clients), 1)
        return [
            Hop(*(_aligned(values, length, index) for values in (clients, schemes, hosts)))
            for index in range(length)
        ]
    return [_hop(element) for element in _items(headers, "forwarded")]


def _items(headers: Headers, name: str) -> list[str]:
    return [each.strip() for value in headers.getlist(name) for each in value.split(",") if each]


def _aligned(values: Sequence[str], length: int, index: int) -> str:
    """Pair lists from their nearest ends; a shorter one is of the nearest proxies alone."""
    place = index - length + len(values)
    return values[place] if 0 <= place < len(values) else ""


def _hop(element: str) -> Hop:
    pairs = {}
    for part in element.split(";"):
        if (pair := _PAIR.fullmatch(part)) is not None:
            pairs[pair[1].lower()] = pair[2].strip('"').replace("\\", "")
    return Hop(pairs.get("for", ""), pairs.get("proto", "").lower(), pairs.get("host", ""))
