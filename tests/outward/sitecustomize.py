"""On PYTHONPATH of a Python process: notes each attempt to reach another machine, and stops it."""

import os
import sys
from ipaddress import ip_address

_LOG = os.environ["OUTWARD_LOG"]
_EVENTS = {
    "socket.connect": 1,
    "socket.sendto": 1,
    "socket.sendmsg": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
    "socket.gethostbyaddr": 0,
    "socket.getnameinfo": 0,
}
"""Where in an event's arguments the address is."""


def _note(line: str) -> None:
    handle = os.open(_LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, f"{os.getpid()} {line}\n".encode())
    os.close(handle)


def _is_near(address: object) -> bool:
    host = address[0] if isinstance(address, tuple) else address
    if host in (None, "", b"", "localhost", b"localhost"):
        return True
    if isinstance(address, str | bytes) and address[:1] in ("/", "\0", b"/", b"\0"):
        return True  # a Unix socket
    try:
        return ip_address(host.decode() if isinstance(host, bytes) else str(host)).is_loopback
    except ValueError:
        return False


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if event in _EVENTS and not _is_near(arguments[_EVENTS[event]]):
        _note(f"reached out: {event} {arguments!r}")
        raise PermissionError(f"{event} {arguments!r}")


_note(f"watched: {' '.join(sys.orig_argv)}")
sys.addaudithook(_watch)
