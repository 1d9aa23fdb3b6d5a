"""A live server under attack: it refuses, it stays small, and it goes on serving."""

import struct
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from server.app import create_app
from server.config import Config
from tests.server.fakes import FakeFleet
from tests.server.pictures import file_of, noise
from tests.server.processes import running

EDITS, JSON, FORM = (
    "/v1/images/edits",
    {"content-type": "application/json"},
    {"content-type": "multipart/form-data; boundary=x"},
)
MEBIBYTE = 1 << 20


@pytest.fixture
def process(tmp_path: Path, registry: Any) -> Iterator[tuple[str, psutil.Process]]:
    with running(tmp_path) as server:
        yield server


def part(name: str, data: bytes) -> bytes:
    return b'--x\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (name.encode(), data)


def form(*files: bytes) -> bytes:
    texts = part("prompt", b"a") + part("model", b"gpt-image-1")
    return texts + b"".join(part("image", file) for file in files) + b"--x--\r\n"


def bomb(side: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    pixels = zlib.compress(bytes(50 * MEBIBYTE), 9)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def in_chunks(data: bytes, times: int) -> Callable[[], Iterator[bytes]]:
    return lambda: (data for _ in range(times))


GOOD = file_of(noise(64, 64))
BOMB, TRUNCATED_BOMB = bomb(30_000), bomb(4096)[:-2000]
HEAD = b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n'

ATTACKS: list[tuple[dict[str, str], Callable[[], bytes | Iterator[bytes]]]] = [
    (FORM, lambda: form(BOMB)),
    (FORM, lambda: form(TRUNCATED_BOMB)),
    (FORM, lambda: form(*[GOOD] * 17)),
    (FORM, lambda: b"".join(part(f"p{n}", b"x") for n in range(10_000))),
    (FORM, lambda: part("prompt", b"x" * 2 * MEBIBYTE)),
    (FORM, lambda: form(b"\0" * 20 * MEBIBYTE)),
    (FORM, in_chunks(HEAD + b"\0" * 4 * MEBIBYTE, 14)),
    (FORM, in_chunks(b"no boundary at all " * 50_000, 20)),
    (FORM, lambda: b"--x\r\n" + b"A" * 5 * MEBIBYTE),
    (JSON, lambda: b"[" * 2 * MEBIBYTE),
    (JSON, lambda: b'{"images": [{"image_url": "data:;base64,' + b"A" * 15 * MEBIBYTE + b'"}]}'),
    (JSON, in_chunks(b" " * MEBIBYTE, 66)),
]


@pytest.mark.timeout(600)
def test_memory_does_not_grow_with_the_attack(process: tuple[str, psutil.Process]) -> None:
    url, server = process
    limits = httpx.Limits(max_connections=8)
    with httpx.Client(base_url=url, trust_env=False, timeout=120, limits=limits) as client:

        def attack(number: int) -> int:
            headers, body = ATTACKS[number % len(ATTACKS)]
            return client.post(EDITS, headers=headers, content=body()).status_code

        with ThreadPoolExecutor(8) as threads:
            told = list(threads.map(attack, range(3 * len(ATTACKS))))
            before = server.memory_info().rss
            told += threads.map(attack, range(12 * len(ATTACKS)))
        after = server.memory_info().rss
        assert set(told) == {400, 413}
        assert after - before < 160 * MEBIBYTE  # of gigabytes that were sent
        assert before < 1024 * MEBIBYTE
        assert client.post(EDITS, headers=FORM, content=form(GOOD)).status_code == 200
    assert server.num_fds() < 100


def test_a_refusal_reaches_a_client_that_is_still_sending(
    process: tuple[str, psutil.Process],
) -> None:
    url, _ = process
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        for body in (form(b"\0" * 60 * MEBIBYTE), in_chunks(HEAD + b"\0" * MEBIBYTE, 80)()):
            response = client.post(EDITS, headers=FORM, content=body)
            assert response.status_code == 413
            assert response.json()["error"]["code"] == "request_too_large"


PIECES = st.lists(
    st.sampled_from(
        [b"--x", b"--x--", b"\r\n", b"\n", b"\r", b"\r\n--x\r\n", b":", b";", b'"', b"form-data",
         b"Content-Disposition: form-data; ", b'name="image"', b'name="prompt"', b'name="model"',
         b'filename="\xff"', b"Content-Length: 5\r\n", b"\0", b"gpt-image-1", b"null", GOOD,
         GOOD[:99]]
    )
    | st.binary(max_size=20),
    max_size=30,
)  # fmt: skip


@pytest.fixture
def harmless(config: Config, registry: Any) -> Iterator[TestClient]:
    with TestClient(create_app(config, registry, FakeFleet())) as client:  # type: ignore[arg-type]
        yield client


ANSWERS = {200, 400, 413}


@given(pieces=PIECES, whole=st.booleans())
def test_whatever_form_is_sent_is_answered(
    harmless: TestClient, pieces: list[bytes], whole: bool
) -> None:
    body = b"".join(pieces)
    content = b"--x\r\n" + body + b"\r\n--x--\r\n" if whole else body
    assert harmless.post(EDITS, headers=FORM, content=content).status_code in ANSWERS


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.just("data:,x"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["image_url", "file_id", "x"]), inner, max_size=2)
    ),
    max_leaves=6,
)
NAMES = st.sampled_from(
    ["prompt", "model", "images", "mask", "image", "n", "size", "quality", "seed", "strength",
     "crop", "stream", "input_fidelity", "output_format", "background", "user"]
)  # fmt: skip


@given(body=st.dictionaries(NAMES, VALUES, max_size=6))
def test_whatever_json_is_sent_is_answered(harmless: TestClient, body: dict[str, Any]) -> None:
    sent = {"prompt": "a", "model": "gpt-image-1"} | body
    assert harmless.post(EDITS, json=sent).status_code in ANSWERS


@given(texts=st.dictionaries(NAMES, st.text(max_size=12), max_size=4))
def test_whatever_texts_are_sent_are_answered(harmless: TestClient, texts: dict[str, str]) -> None:
    sent = {"prompt": "a", "model": "flux-schnell"} | texts
    response = harmless.post(EDITS, files={"image": GOOD}, data=sent)
    assert response.status_code in ANSWERS
