"""A server that is killed again and again: its ledger, against what its clients have in hand."""

import json
import os
import sqlite3
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from server.callers.ledger import FILE
from server.callers.usage import totals
from tests.server.lone import lone_server

REQUESTS = int(os.environ.get("DARKROOM_TEST_REQUESTS", 500))
KILLS = 10
CLIENTS = 8
PATH = "/v1/images/generations"
COMPLETED = 'data: {"type":"image_generation.completed"'
ASKED = {
    "model": "gpt-image-2",
    "prompt": "a cat",
    "size": "1024x640",
    "output_format": "jpeg",
    "n": 2,
}


@dataclass
class Seen:
    """What the clients know."""

    images: Counter[str] = field(default_factory=Counter)
    """The images in hand, by the number of their request."""
    whole: set[str] = field(default_factory=set)
    """The requests that were answered to the end."""
    cut: int = 0
    """How often a connection ended before the first byte of an answer, or within a whole one."""
    counting: threading.Lock = field(default_factory=threading.Lock)
    lock: threading.Lock = field(default_factory=threading.Lock)


def test_the_ledger_is_what_the_clients_got(tmp_path: Path) -> None:
    """Every image in hand is in it, once; what else is in it had its answer cut by a kill."""
    seen = Seen()
    due = [REQUESTS * (kill + 1) // (KILLS + 1) for kill in range(KILLS)]
    over = threading.Event()
    with (
        lone_server(tmp_path) as server,
        httpx.Client(base_url=server.url, trust_env=False, timeout=20) as client,
    ):

        def ask(number: int) -> None:
            while not over.is_set() and not answered(client, number % 3 == 0, seen):
                pass
            with seen.lock:  # at once, by the very client that has an answer in hand
                if due and len(seen.whole) >= due[0]:
                    due.pop(0)
                    server.kill()
                    kept = ledger(server.data)
                    assert not missing(seen, kept)
                    server.start()

        with ThreadPoolExecutor(CLIENTS) as clients:
            work = [clients.submit(ask, number) for number in range(REQUESTS)]
            try:
                for each in work:
                    each.result(120)
            finally:
                over.set()
    kept = ledger(server.data)
    assert due == [] and len(seen.whole) == REQUESTS
    assert not missing(seen, kept)
    assert {request: kept[request] for request in seen.whole} == {
        request: seen.images[request] for request in seen.whole
    }
    assert sum(request not in seen.images for request in kept) <= seen.cut
    assert sum(request not in seen.whole for request in kept) <= KILLS * CLIENTS
    (total,) = totals(server.data / FILE, ["name"])
    assert (total.requests, total.images) == (len(kept), kept.total())


def answered(client: httpx.Client, stream: bool, seen: Seen) -> bool:
    """Ask for two images once, and note what came of it."""
    request = ""
    try:
        with client.stream("POST", PATH, json={**ASKED, "stream": stream}) as response:
            assert response.status_code == 200
            if stream:
                request = response.headers["x-request-id"]
                for line in response.iter_lines():
                    seen.images[request] += line.startswith(COMPLETED)
            else:
                images = len(json.loads(response.read())["data"])
                request = response.headers["x-request-id"]
                seen.images[request] = images
    except httpx.TransportError:
        if not request:
            with seen.counting:
                seen.cut += 1
        return False
    seen.whole.add(request)
    return True


def ledger(data: Path) -> Counter[str]:
    """The images of each request that it has."""
    with closing(sqlite3.connect(data / FILE)) as database:
        return Counter(dict(database.execute("SELECT request, COUNT(*) FROM images GROUP BY 1")))


def missing(seen: Seen, kept: Counter[str]) -> Counter[str]:
    """The images in hand that are not in it."""
    return Counter(dict(seen.images)) - kept
