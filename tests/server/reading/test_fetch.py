"""What is fetched from the network, and what never is."""

import asyncio
import socket
import ssl
from base64 import b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from typing import Any

import certifi
import pytest
import trustme
from starlette.testclient import TestClient

from pipelines.registry import Registry
from server.app import create_app
from server.config import Config
from server.errors import InvalidValue
from server.reading import fetch as module
from server.reading.fetch import fetch, is_public
from server.reading.spool import Scratch
from tests.server.checks import assert_error_shape
from tests.server.fakes import FakeFleet
from tests.server.pictures import file_of, noise, opened


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1",
        "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "2002:a00:1::",
        "64:ff9b::7f00:1", "2001:0:4136:e378::1", "2001:db8::1",
    ],
)  # fmt: skip
def test_addresses_that_are_nobody_elses_business(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses(address: str) -> None:
    assert is_public(ip_address(address))


class Site(BaseHTTPRequestHandler):
    """A small site: what it has at a path, and what it was asked with."""

    asked: list[tuple[str, str | None]] = []
    large = b"x" * 3_000_000
    picture = file_of(noise())

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["host"]))
        if self.path == "/a":
            self.answer(200, b"picture")
        elif self.path == "/a.png":
            self.answer(200, self.picture)
        elif self.path == "/large":
            self.answer(200, self.large)
        elif self.path.startswith("/to/"):
            self.answer(302, b"", self.path.removeprefix("/to/"))
        elif self.path == "/round":
            self.answer(302, b"", "/round")
        else:
            self.answer(404, b"")

    def answer(self, status: int, body: bytes, location: str | None = None) -> None:
        self.send_response(status)
        if location:
            self.send_header("location", location)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None: ...


@contextmanager
def served(tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port of the site."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    Site.asked = []
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A site that names lead to, on what this test takes for the usual port of the internet."""
    with served() as port:
        monkeypatch.setattr(module, "_PORTS", {"http": port, "https": 443})
        yield


@pytest.fixture
def authority(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> trustme.CA:
    """Who signs the certificates of what this test takes for the internet."""
    signer = trustme.CA()
    signer.cert_pem.write_to_path(tmp_path / "roots.pem")
    monkeypatch.setattr(certifi, "where", lambda: str(tmp_path / "roots.pem"))
    return signer


@contextmanager
def secure_site(
    monkeypatch: pytest.MonkeyPatch, signer: trustme.CA, name: str = "pictures.example"
) -> Iterator[None]:
    """The site over TLS, with a certificate for a name."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    signer.issue_cert(name).configure_cert(tls)
    with served(tls) as port:
        monkeypatch.setattr(module, "_PORTS", {"http": 80, "https": port})
        yield


@contextmanager
def resolving(monkeypatch: pytest.MonkeyPatch, *answers: str) -> Iterator[list[str]]:
    """Every name has the next of these addresses, the last one from then on."""
    asked: list[str] = []
    queue = list(answers)

    async def getaddrinfo(self: Any, host: str, port: int, **_: Any) -> Any:
        asked.append(host)
        address = queue.pop(0) if len(queue) > 1 else queue[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    yield asked


def fetched(url: str, tmp_path: Path) -> bytes:
    with ThreadPoolExecutor(1) as threads:
        file = BytesIO()
        asyncio.run(fetch(url, file, Scratch(tmp_path, threads)))
        return file.getvalue()


def allow_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "is_public", lambda it: str(it) == "127.0.0.1" or it.is_global)


def test_fetches_by_name_and_connects_to_the_address_that_was_checked(
    site: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    allow_loopback(monkeypatch)
    with resolving(monkeypatch, "127.0.0.1") as asked:
        assert fetched("http://pictures.example/a", tmp_path) == b"picture"
        assert fetched("http://pictures.example/to//a", tmp_path) == b"picture"
    assert asked == ["pictures.example"] * 3
    assert {host for _, host in Site.asked} == {"pictures.example"}


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/a", "http://localhost/a", "http://[::1]/a", "http://[::ffff:127.0.0.1]/a",
     "http://2130706433/a", "http://0x7f.1/a", "http://127.1/a", "https://169.254.169.254/latest",
     "http://10.0.0.1/a"],
)  # fmt: skip
def test_private_addresses_are_not_reached(site: None, tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidValue, match="public address|connection failed") as caught:
        fetched(url, tmp_path)
    assert caught.value.param == "url"
    assert Site.asked == []


def test_a_name_that_leads_inside_is_not_followed_however_late(
    site: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with resolving(monkeypatch, "10.0.0.1"), pytest.raises(InvalidValue, match="public address"):
        fetched("http://inside.example/a", tmp_path)
    allow_loopback(monkeypatch)
    with (
        resolving(monkeypatch, "127.0.0.1", "10.0.0.1"),
        pytest.raises(InvalidValue, match="public address"),
    ):
        fetched("http://pictures.example/to//inside.example/a", tmp_path)
    assert len(Site.asked) == 1


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/none", "^Error while downloading file. Upstream status code: 404.$"),
        ("/round", "redirected too often"),
        ("/to/ftp://example.org/a", "http and https"),
        ("/to/http://example.org:22/a", "usual ports"),
        ("/to/http://user:word@example.org/a", "usual ports"),
    ],
)
def test_what_cannot_be_fetched(
    site: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str, says: str
) -> None:
    allow_loopback(monkeypatch)
    with resolving(monkeypatch, "127.0.0.1"), pytest.raises(InvalidValue, match=says) as caught:
        fetched(f"http://pictures.example{path}", tmp_path)
    assert caught.value.param == "url"


def test_what_is_too_large_is_given_up(
    site: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    allow_loopback(monkeypatch)
    monkeypatch.setattr(module, "MOST_BYTES", 1_000_000)
    with resolving(monkeypatch, "127.0.0.1"), pytest.raises(InvalidValue, match="larger than"):
        fetched("http://pictures.example/large", tmp_path)


def test_other_ports_and_schemes_are_refused(tmp_path: Path) -> None:
    for url in ("http://example.org:8080/a", "ftp://example.org/a", "http://u:p@example.org/"):
        with pytest.raises(InvalidValue, match="usual ports"):
            fetched(url, tmp_path)


def test_a_slow_site_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "WITHIN_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(module, "_PORTS", {"http": silent.getsockname()[1]})
        allow_loopback(monkeypatch)
        with resolving(monkeypatch, "127.0.0.1"), pytest.raises(InvalidValue):
            fetched("http://pictures.example/a", tmp_path)


def test_https_by_name_from_the_address_that_was_checked(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    allow_loopback(monkeypatch)
    with secure_site(monkeypatch, authority), resolving(monkeypatch, "127.0.0.1"):
        assert fetched("https://pictures.example/to//a", tmp_path) == b"picture"
    assert Site.asked == [("/to//a", "pictures.example"), ("/a", "pictures.example")]


def test_a_certificate_of_another_authority_or_for_another_name_is_refused(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    allow_loopback(monkeypatch)
    for signer, name in ((trustme.CA(), "pictures.example"), (authority, "other.example")):
        with (
            secure_site(monkeypatch, signer, name),
            resolving(monkeypatch, "127.0.0.1"),
            pytest.raises(InvalidValue, match="connection failed"),
        ):
            fetched("https://pictures.example/a", tmp_path)
        assert Site.asked == []


def test_https_does_not_open_private_addresses(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (
        secure_site(monkeypatch, authority),
        resolving(monkeypatch, "127.0.0.1"),
        pytest.raises(InvalidValue, match="public address"),
    ):
        fetched("https://pictures.example/a", tmp_path)
    assert Site.asked == []


def test_an_edit_of_a_picture_behind_https(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, config: Config, registry: Registry,
    fleet: FakeFleet,
) -> None:  # fmt: skip
    allow_loopback(monkeypatch)
    app = create_app(replace(config, allow_image_urls=True), registry, fleet)  # type: ignore[arg-type]
    image = {"image_url": "https://pictures.example/a.png"}
    body = {"model": "demo", "prompt": "a cat", "images": [image], "response_format": "b64_json"}

    def edited(signer: trustme.CA) -> Any:
        with secure_site(monkeypatch, signer), resolving(monkeypatch, "127.0.0.1"):
            return client.post("/v1/images/edits", json=body)

    with TestClient(app, "http://darkroom.test") as client:
        made = edited(authority).json()["data"][0]["b64_json"]
        assert opened(b64decode(made)).shape == noise().shape
        refused = edited(trustme.CA())
    assert refused.status_code == 400
    assert assert_error_shape(refused) == {
        "message": "Error while downloading file. The connection failed.",
        "type": "invalid_request_error", "param": "url", "code": "invalid_value",
    }  # fmt: skip
    assert len(fleet.jobs) == 1
