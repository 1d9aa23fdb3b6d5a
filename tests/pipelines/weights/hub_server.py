"""A stand-in for the hub's HTTP interface on a real socket, with the troubles that a real one has.

GET /api/models/{owner}/{name}[/revision/{r}]?blobs=true
GET /{owner}/{name}/resolve/{revision}/{path}      (redirects large files to /cdn/…)
"""

import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REVISION = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """What is on the hub, what goes wrong, and what was asked."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.repository = "owner/tiny"
        self.token: str | None = None
        self.gated = False
        self.broken: dict[str, int] = {}
        """Paths that break off once after so many bytes."""
        self.lies: dict[str, bytes] = {}
        """Paths that are sent with other bytes than they are listed with."""
        self.busy = 0
        """How many requests are answered 429 first."""
        self.retry_after = "1"
        self.ranges: list[tuple[str, str | None]] = []
        self.seen: Counter[str] = Counter()
        self.tokens: set[str | None] = set()
        self.url = ""

    def fetched(self, path: str) -> list[str | None]:
        """The Range headers with which a path was asked for."""
        return [asked for name, asked in self.ranges if name == path]


@contextmanager
def running() -> Iterator[Hub]:
    """A hub with nothing in it, until the block ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            hub.seen[path] += 1
            token = self.headers.get("Authorization", "").removeprefix("Bearer ") or None
            hub.tokens.add(token)
            if hub.busy > 0:
                hub.busy -= 1
                return self.say(429, **{"Retry-After": hub.retry_after})
            if token is not None and token != hub.token:
                text = "Invalid credentials in Authorization header"
                return self.say(401, **{"X-Error-Message": text})
            if match := re.fullmatch(rf"/api/models/{hub.repository}(?:/revision/(\w+))?", path):
                return self.describe(match[1])
            if match := re.fullmatch(rf"(?:/cdn)?/{hub.repository}/resolve/{REVISION}/(.+)", path):
                return self.send_file(path, match[1], token)
            # The hub does not tell strangers which repositories do not exist.
            code = {"X-Error-Code": "RepoNotFound"} if token else {}
            return self.say(404 if token else 401, **code)

        def describe(self, revision: str | None) -> None:
            if revision not in (None, "main", REVISION):
                return self.say(404, **{"X-Error-Code": "RevisionNotFound"})
            siblings = [{"rfilename": path, **about(data)} for path, data in hub.files.items()]
            body = {"id": hub.repository, "sha": REVISION, "siblings": siblings}
            self.say(200, json.dumps(body).encode())

        def send_file(self, path: str, name: str, token: str | None) -> None:
            if hub.gated and (token is None or token != hub.token):
                return self.say(401, **{"X-Error-Code": "GatedRepo"})
            if hub.gated and token == "not on the list":
                return self.say(403, **{"X-Error-Code": "GatedRepo"})
            if name not in hub.files:
                return self.say(404, **{"X-Error-Code": "EntryNotFound"})
            if len(hub.files[name]) > 10_000 and not path.startswith("/cdn"):
                return self.say(302, Location=f"{hub.url}/cdn{path}")
            asked = self.headers.get("Range")
            hub.ranges.append((name, asked))
            data = hub.lies.get(name, hub.files[name])
            at = int(asked.split("=")[1].rstrip("-")) if asked else 0
            whole = f"bytes {at}-{len(data) - 1}/{len(data)}"
            if name in hub.broken:
                rest = data[at : at + hub.broken.pop(name)]
                self.say(206, rest, len(data) - at, **{"Content-Range": whole})
                self.close_connection = True
                return
            self.say(206, data[at:], **{"Content-Range": whole})

        def say(
            self, status: int, body: bytes = b"", length: int | None = None, **headers: str
        ) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def about(data: bytes) -> dict[str, object]:
    """How the hub lists a file: large ones by sha256, small ones by git's name."""
    listed: dict[str, object] = {"size": len(data)}
    if len(data) > 10_000:
        sha = hashlib.sha256(data).hexdigest()
        return listed | {"lfs": {"sha256": sha, "size": len(data), "pointerSize": 134}}
    return listed | {"blobId": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()}
