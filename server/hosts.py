"""Host names and web origins, as HTTP headers and settings spell them."""

import re
import socket
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

_HOST = re.compile(r"[A-Za-z0-9._~-]+(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_PRIVATE_SUFFIXES = (".localhost", ".local", ".internal", ".lan", ".home.arpa", ".test")


def is_host(text: str) -> bool:
    """Tell whether a text can be the value of a Host header."""
    return _HOST.fullmatch(text) is not None


def hostname(host: str) -> str:
    """Take the port and the brackets off a Host header, in lower case."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")


def is_private_name(name: str) -> bool:
    """Tell whether no public DNS server can answer for a host name: an address, a name without a
    dot, one of a reserved domain, or this machine's own name."""
    if "." not in name or name.endswith(_PRIVATE_SUFFIXES) or name == socket.gethostname().lower():
        return True
    return address(name) is not None


def address(text: str) -> str | None:
    """Normalize an IP address, which may have a port, brackets, or be IPv4 written as IPv6."""
    text = text.strip().strip('"')
    bare = text[1:].partition("]")[0] if text.startswith("[") else text
    if bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        found = ip_address(bare)
    except ValueError:
        return None
    if isinstance(found, IPv6Address) and found.ipv4_mapped:
        return str(found.ipv4_mapped)
    return str(found)


def origin_of(url: str) -> str | None:
    """Normalize a web origin as browsers send it: no path, no default port; None if it is none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    scheme, name = parts.scheme.lower(), parts.hostname
    if not name or not _SCHEME.fullmatch(scheme) or not re.fullmatch(r"[^\s,*@/]+", name):
        return None
    name = f"[{name}]" if ":" in name else name
    usual = port is None or port == _DEFAULT_PORTS.get(scheme)
    return f"{scheme}://{name}" if usual else f"{scheme}://{name}:{port}"
