"""Clients that stop halfway, on real sockets."""

import contextlib
import socket
import threading
import time
from dataclasses import replace

import httpx
import pytest

from pipelines.core import Image, Job
from pipelines.registry import Registry
from server.commands import patience
from server.commands.patience import LEAST_BYTES
from server.config import Config
from tests.server.fakes import FakeFleet
from tests.server.pictures import noise
from tests.server.sockets import connected, serving, wait_for

PATIENCE_S = 0.5
BODY = b'{"prompt": "a cat", "model": "demo", "size": "64x64"}'
HEAD = b"POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
FORM = (
    b"POST /v1/images/edits HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n"
    b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n\x89PNG'
)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PATIENCE_S", PATIENCE_S)


def ended(wire: socket.socket) -> bool:
    """Whether the other side closes the connection, sooner or later."""
    with contextlib.suppress(ConnectionError):
        while wire.recv(65536):
            pass
    return True


def asking(n: int, **more: str) -> bytes:
    extra = "".join(f', "{key}": {value}' for key, value in more.items())
    text = f'{{"prompt": "a", "model": "gpt-image-2", "size": "1440x1440", "n": {n}{extra}}}'
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(text) + text.encode()


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"POST /v1/images/ge",
        HEAD,
        HEAD + b"Content-Length: 100\r\n\r\n{",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
        FORM,
    ],
    ids=["nothing", "half a line", "half a head", "half a body", "a chunk", "half a file"],
)
def test_a_request_that_does_not_go_on_is_ended(
    wire: socket.socket, fleet: FakeFleet, begun: bytes
) -> None:
    wire.sendall(begun)
    assert ended(wire)
    assert fleet.jobs == []


def test_a_request_that_comes_by_drops_is_ended(wire: socket.socket) -> None:
    wire.sendall(FORM)
    with pytest.raises(ConnectionError):
        for _ in range(100):
            wire.sendall(b"x")
            time.sleep(PATIENCE_S / 5)


def test_a_request_that_was_refused_before_its_body_came_is_ended(wire: socket.socket) -> None:
    wire.sendall(b"POST /v1/nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert wire.recv(65536).startswith(b"HTTP/1.1 404 ")
    assert ended(wire)


def test_a_slow_upload_that_goes_on_is_heard(wire: socket.socket) -> None:
    spaces, part = 10, 40_000
    wire.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % (spaces * part + len(BODY)))
    for _ in range(spaces):
        wire.sendall(b" " * part)
        time.sleep(PATIENCE_S / 5)
    wire.sendall(BODY)
    assert wire.recv(100).startswith(b"HTTP/1.1 200 ")


def test_whoever_waits_for_an_image_may_wait(wire: socket.socket, fleet: FakeFleet) -> None:
    fleet.delay_s = 5 * PATIENCE_S
    wire.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
    assert wire.recv(100).startswith(b"HTTP/1.1 200 ")


def test_requests_one_after_another_are_each_a_new_beginning(url: str) -> None:
    with httpx.Client(base_url=url) as client:
        for _ in range(8):
            assert client.get("/healthz").status_code == 200
            time.sleep(PATIENCE_S / 5)


@pytest.fixture
def noisy(fleet: FakeFleet) -> FakeFleet:
    """A fleet whose images are too large for the buffers between two sockets."""

    def picture(job: Job) -> Image:
        pixels = noise(job.width, job.height, seed=job.seed)
        return Image(job.width, job.height, pixels.tobytes())

    fleet.outcome = picture
    return fleet


def test_a_slow_reader_that_goes_on_has_all_of_it(wire: socket.socket, noisy: FakeFleet) -> None:
    wire.sendall(asking(3))
    head, _, body = wire.recv(65536).partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    received, began = len(body), time.monotonic()
    while received < length:
        data = wire.recv(1 << 18)
        assert data, "it was disconnected"
        received += len(data)
        time.sleep(5 * PATIENCE_S * len(data) / length)
    assert time.monotonic() - began > 4 * PATIENCE_S


def test_an_upload_that_is_very_slow_does_not_hold_up_the_end(
    config: Config, registry: Registry, fleet: FakeFleet
) -> None:
    """Fast enough for a server that goes on: at this pace, it would take a minute."""

    def go_on() -> None:
        with contextlib.suppress(OSError):
            while client.send(b"x" * 4 * LEAST_BYTES):
                time.sleep(PATIENCE_S / 2)

    with serving(replace(config, port=0), registry, fleet) as url:
        client = connected(url)
        client.sendall(FORM.replace(b"1000000", b"30000000"))
        slowly = threading.Thread(target=go_on)
        slowly.start()
        time.sleep(4 * PATIENCE_S)
    client.close()
    slowly.join()


@pytest.mark.parametrize("stream", ["false", "true"])
def test_a_reader_that_stops_does_not_hold_up_the_end(
    config: Config, registry: Registry, noisy: FakeFleet, stream: str
) -> None:
    with serving(replace(config, port=0), registry, noisy) as url:
        client = connected(url, receive_buffer=4096)
        client.sendall(asking(4, stream=stream))
        wait_for(lambda: len(noisy.futures) == 4)
        assert client.recv(15) == b"HTTP/1.1 200 OK"
    client.close()


def test_a_connection_between_two_requests_stays_open(wire: socket.socket) -> None:
    for _ in range(2):
        wire.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert wire.recv(65536).startswith(b"HTTP/1.1 200 ")
        time.sleep(3 * PATIENCE_S)


def test_a_second_request_that_does_not_go_on_is_ended(wire: socket.socket) -> None:
    wire.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert wire.recv(65536).startswith(b"HTTP/1.1 200 ")
    wire.sendall(b"GET /healthz HT")
    assert ended(wire)


def test_an_idle_connection_is_closed_when_its_time_is_over(
    config: Config, registry: Registry, fleet: FakeFleet
) -> None:
    with serving(replace(config, port=0, keep_alive_s=1), registry, fleet) as url:
        with connected(url) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
            assert ended(connection)
