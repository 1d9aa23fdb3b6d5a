"""Fetching a picture from a URL that a client names, and from nowhere that it must not reach.

The host is resolved here, every address that it has must be a public one, and the connection goes
to an address that was checked: a name that changes its mind in between gains nothing. Knows HTTP
and addresses; not what the picture is for.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import IO

import httpx

from server.errors import InvalidValue
from server.reading.spool import Scratch

MOST_BYTES = 50 << 20
WITHIN_S = 20.0
MOST_REDIRECTS = 3

_PORTS = {"http": 80, "https": 443}
_TRANSLATED = ip_network("64:ff9b::/96")  # IPv4 behind NAT64, where nobody checks it again
_REDIRECTS = (301, 302, 303, 307, 308)

Address = IPv4Address | IPv6Address


async def fetch(url: str, file: IO[bytes], scratch: Scratch) -> None:
    """Write what a URL has into a file; raises InvalidValue."""
    try:
        async with asyncio.timeout(WITHIN_S), _client() as client:
            for _ in range(MOST_REDIRECTS + 1):
                async with _opened(client, httpx.URL(url)) as response:
                    if response.status_code not in _REDIRECTS:
                        return await _save(response, file, scratch)
                    url = str(httpx.URL(url).join(response.headers.get("location", "")))
        raise _failed("It was redirected too often.")
    except TimeoutError:
        raise _failed(f"It took more than {WITHIN_S:g} seconds.") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError):
        raise _failed("The connection failed.") from None


def is_public(address: Address) -> bool:
    """Whether an address is one of the open internet, however it is written."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is not None:
            return is_public(inner)
        if address.teredo is not None or address in _TRANSLATED:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=WITHIN_S)


@asynccontextmanager
async def _opened(client: httpx.AsyncClient, url: httpx.URL) -> AsyncIterator[httpx.Response]:
    if url.scheme not in _PORTS or url.userinfo or (url.port or 0) not in (0, _PORTS[url.scheme]):
        raise _failed("Only http and https URLs on their usual ports are fetched.")
    address = await _checked_address(url.host, _PORTS[url.scheme])
    host = f"[{address}]" if isinstance(address, IPv6Address) else str(address)
    request = client.build_request(
        "GET",
        url.copy_with(host=host, port=_PORTS[url.scheme]),
        headers={"host": url.netloc.decode("ascii"), "accept-encoding": "identity"},
        extensions={"sni_hostname": url.raw_host.decode("ascii")},
    )
    response = await client.send(request, stream=True)
    try:
        yield response
    finally:
        await response.aclose()


async def _checked_address(host: str, port: int) -> Address:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    if not addresses or not all(is_public(address) for address in addresses):
        raise _failed("The URL does not lead to a public address.")
    return addresses[0]


async def _save(response: httpx.Response, file: IO[bytes], scratch: Scratch) -> None:
    if response.status_code != 200:
        raise _failed(f"Upstream status code: {response.status_code}.")
    size = 0
    async for chunk in response.aiter_raw():
        size += len(chunk)
        if size > MOST_BYTES:
            raise _failed(f"It is larger than {MOST_BYTES >> 20} MB.")
        await scratch.write(file, chunk)


def _failed(why: str) -> InvalidValue:
    return InvalidValue(f"Error while downloading file. {why}", "url")
