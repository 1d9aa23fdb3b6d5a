"""The real server: sockets, clients, signals."""

import contextlib
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from pipelines.registry import Registry
from server.commands.serve import bind, run, url_of
from server.config import Config, ConfigError
from tests.server.fakes import FakeFleet
from tests.server.processes import LOG, running
from tests.server.sockets import wait_for

GOOD = b'{"prompt": "a cat", "model": "demo", "size": "64x64"}'
HEAD = b"POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def test_a_200_mb_body_is_refused_before_it_is_read(wire: socket.socket, fleet: FakeFleet) -> None:
    wire.sendall(HEAD + b"Content-Length: 200000000\r\n\r\n")
    assert wire.recv(100).startswith(b"HTTP/1.1 413 ")
    assert fleet.jobs == []


def test_an_endless_body_is_refused_at_the_limit(wire: socket.socket) -> None:
    wire.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    for _ in range(18):
        wire.sendall(chunk)
    assert wire.recv(100).startswith(b"HTTP/1.1 413 ")


def test_an_endless_head_is_refused_at_the_limit(wire: socket.socket) -> None:
    wire.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
    with contextlib.suppress(ConnectionError):
        for _ in range(1024):
            wire.sendall(b"X-More: " + b"x" * 1014 + b"\r\n")
    assert wire.recv(100).startswith(b"HTTP/1.1 400 ")


def test_expect_100_continue(wire: socket.socket) -> None:
    wire.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(GOOD))
    assert wire.recv(100).startswith(b"HTTP/1.1 100 ")
    wire.sendall(GOOD)
    assert wire.recv(100).startswith(b"HTTP/1.1 200 ")


def test_expect_100_continue_with_a_body_that_is_too_large(wire: socket.socket) -> None:
    wire.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: 200000000\r\n\r\n")
    assert wire.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_client_that_leaves_frees_its_jobs(wire: socket.socket, fleet: FakeFleet) -> None:
    fleet.delay_s = None
    body = GOOD.replace(b"}", b', "n": 3}')
    wire.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    wait_for(lambda: len(fleet.futures) == 3)
    assert not any(future.done() for future in fleet.futures)
    wire.close()
    wait_for(lambda: all(future.cancelled() for future in fleet.futures))


def test_a_client_that_leaves_with_half_its_body_sent(wire: socket.socket, url: str) -> None:
    wire.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
    wire.close()
    assert httpx.get(f"{url}/healthz").status_code == 200


def test_others_are_answered_while_an_image_is_encoded(url: str) -> None:
    """Encoding this one takes seconds; the loop that it does not run on answers all the while."""
    done = threading.Event()
    answers: list[httpx.Response] = []
    answered = 0

    def make_a_large_one() -> None:
        body = {"prompt": "a", "model": "gpt-image-2", "size": "1440x1440", "output_format": "webp"}
        try:
            answers.append(httpx.post(f"{url}/v1/images/generations", json=body, timeout=60))
        finally:
            done.set()

    thread = threading.Thread(target=make_a_large_one)
    thread.start()
    with httpx.Client(base_url=url) as client:
        while not done.is_set():
            answered += client.get("/healthz").is_success
    thread.join()
    assert answers[0].is_success
    assert answered > 5


@contextmanager
def asking(url: str) -> Iterator[list[int]]:
    """A request under way; its status when it is over, 0 for none."""
    answers: list[int] = []

    def ask() -> None:
        try:
            path = f"{url}/v1/images/generations"
            answers.append(httpx.post(path, json={"prompt": "a"}, timeout=30).status_code)
        except httpx.HTTPError:
            answers.append(0)

    thread = threading.Thread(target=ask)
    thread.start()
    wait_for(lambda: httpx.get(f"{url}/status").json()["queue"]["depth"] == 1)
    yield answers
    thread.join(60)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_lets_what_runs_finish(
    registry: Registry, tmp_path: Path, number: signal.Signals
) -> None:
    def refuses() -> bool:
        try:
            httpx.get(f"{url}/healthz")
        except httpx.ConnectError:
            return True
        return False

    with running(tmp_path, 2) as (url, server):
        with asking(url) as answers:
            server.send_signal(number)
            wait_for(refuses)
        assert answers == [200]
        assert server.wait(60) == 0


def test_a_second_signal_ends_at_once(registry: Registry, tmp_path: Path) -> None:
    with running(tmp_path, 60) as (url, server):
        with asking(url) as answers:
            server.send_signal(signal.SIGTERM)
            with pytest.raises(psutil.TimeoutExpired):
                server.wait(0.3)
            server.send_signal(signal.SIGTERM)
            assert server.wait(30) == 128 + signal.SIGTERM
        assert answers == [0]
    assert "the fleet was killed" in (tmp_path / LOG).read_text()


def test_the_log_has_the_paths_of_results_and_not_what_opens_them(
    registry: Registry, tmp_path: Path
) -> None:
    with running(tmp_path) as (url, server):
        answer = httpx.post(f"{url}/v1/images/generations", json={"prompt": "a"}, timeout=30)
        link = httpx.URL(answer.json()["data"][0]["url"])
        assert httpx.get(link).status_code == 200
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
    log = (tmp_path / LOG).read_text()
    assert f'"GET {link.path} HTTP/1.1" 200' in log
    assert '"POST /v1/images/generations HTTP/1.1" 200' in log
    assert link.params["sig"] not in log and "?" not in log


def test_a_taken_port() -> None:
    with bind(Config(port=0)) as listener:
        with pytest.raises(ConfigError, match="cannot listen on 127.0.0.1 port .* in use"):
            bind(Config(port=listener.getsockname()[1]))


def test_where_another_one_listens_nothing_is_touched(
    registry: Registry, fleet: FakeFleet, tmp_path: Path
) -> None:
    with bind(Config(port=0)) as listener:
        config = Config(port=listener.getsockname()[1], data_dir=tmp_path / "data")
        with pytest.raises(ConfigError, match="cannot listen"):
            run(config, registry, fleet)  # type: ignore[arg-type]
    assert not config.data_dir.exists()


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:"),
        ("0.0.0.0", "http://127.0.0.1:"),
        ("::1", "http://[::1]:"),
    ],
)
def test_the_url_that_is_shown(host: str, url: str) -> None:
    with bind(Config(host=host, port=0, no_auth=True)) as listener:
        assert url_of(listener).startswith(url)
