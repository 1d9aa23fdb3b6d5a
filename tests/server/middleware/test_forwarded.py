"""What trusted proxies say, and nobody else."""

import asyncio
from typing import Any

import pytest

from server.middleware.forwarded import Forwarded

PROXIES = ("127.0.0.1", "10.0.0.0/8", "fd00::/8")


def seen(
    headers: list[tuple[str, str]], peer: str = "127.0.0.1", trusted: tuple[str, ...] = PROXIES
) -> tuple[str, str, str, str]:
    """Client, scheme, host and prefix that the application sees."""
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)

    raw = [(name.encode(), value.encode()) for name, value in [("host", "inner:8000"), *headers]]
    scope = {"type": "http", "scheme": "http", "client": (peer, 4711), "headers": raw, "state": {}}
    asyncio.run(Forwarded(app, trusted)(scope, None, None))  # type: ignore[arg-type]
    host = dict(scopes[0]["headers"])[b"host"].decode()
    return scopes[0]["client"][0], scopes[0]["scheme"], host, scopes[0]["state"].get("prefix", "")


NGINX = [
    ("x-forwarded-for", "203.0.113.7"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "images.example.org"),
    ("x-forwarded-prefix", "/darkroom/"),
]
PLAIN = ("127.0.0.1", "http", "inner:8000", "")


def test_a_trusted_proxy_tells_client_scheme_host_and_prefix() -> None:
    assert seen(NGINX) == ("203.0.113.7", "https", "images.example.org", "/darkroom")


@pytest.mark.parametrize("peer", ["203.0.113.9", "127.0.0.2", "::1", "testclient"])
def test_other_peers_are_not_believed(peer: str) -> None:
    assert seen(NGINX, peer) == (peer, "http", "inner:8000", "")


def test_nobody_is_believed_unless_told_so() -> None:
    assert seen(NGINX, trusted=()) == PLAIN


@pytest.mark.parametrize("peer", ["10.1.2.3", "::ffff:10.1.2.3", "fd00::1"])
def test_networks_and_both_kinds_of_addresses(peer: str) -> None:
    assert seen(NGINX, peer)[1] == "https"


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        ("for=203.0.113.7;proto=https;host=a.example", ("203.0.113.7", "https", "a.example", "")),
        ('For="[2001:db8::1]:9";Proto=HTTPS;Host="a.example:8443"',
         ("2001:db8::1", "https", "a.example:8443", "")),
        ("for=unknown;proto=https;host=a.example", ("127.0.0.1", "https", "a.example", "")),
        ("for=6.6.6.6;proto=http;host=evil.example, for=203.0.113.7;proto=https;host=a.example",
         ("203.0.113.7", "https", "a.example", "")),
        ("for=203.0.113.7;proto=https;host=a.example, for=10.0.0.5;proto=http;host=inner",
         ("203.0.113.7", "https", "a.example", "")),
        ("nonsense", PLAIN),
        ("for=203.0.113.7;proto=gopher;host=\"a b\"", ("203.0.113.7", "http", "inner:8000", "")),
    ],
)  # fmt: skip
def test_the_standard_header(forwarded: str, expected: tuple[str, ...]) -> None:
    assert seen([("forwarded", forwarded)]) == expected


@pytest.mark.parametrize(
    ("clients", "expected"),
    [
        ("6.6.6.6, 203.0.113.7", "203.0.113.7"),
        ("6.6.6.6, 203.0.113.7, 10.0.0.5", "203.0.113.7"),
        ("10.0.0.5, 10.0.0.6", "10.0.0.5"),
        ("unknown", "127.0.0.1"),
        ("203.0.113.7:5000", "203.0.113.7"),
    ],
)
def test_the_client_is_the_first_that_is_no_trusted_proxy(clients: str, expected: str) -> None:
    assert seen([("x-forwarded-for", clients)])[0] == expected


def test_what_a_client_puts_before_the_proxys_own_values_does_not_count() -> None:
    headers = [
        ("x-forwarded-for", "6.6.6.6, 203.0.113.7"),
        ("x-forwarded-proto", "gopher, https"),
        ("x-forwarded-host", "evil.example, a.example"),
        ("forwarded", "host=worse.example"),
    ]
    assert seen(headers) == ("203.0.113.7", "https", "a.example", "")


def test_several_headers_are_one_list() -> None:
    headers = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "203.0.113.7")]
    assert seen(headers)[0] == "203.0.113.7"


@pytest.mark.parametrize("prefix", ["//evil.example", "/a b", "darkroom", "/", '/"x'])
def test_a_prefix_that_is_no_path_does_not_count(prefix: str) -> None:
    assert seen([("x-forwarded-prefix", prefix)])[3] == ""
