import sqlite3
import threading
from contextlib import closing
from dataclasses import astuple, replace
from pathlib import Path

import pytest

from server.callers.database import connect
from server.callers.ledger import DAY_S, Entry, Ledger, Refusal, Spent
from server.callers.usage import totals
from server.errors import ResultNotStored

ENTRY = Entry(
    at=1000.0,
    request="req_1",
    key="alice",
    source="image.generation",
    name="dall-e-3",
    model="demo",
    width=1000,
    height=500,
    steps=8,
    device_seconds=1.5,
)
SPENT = Spent(
    at=1000.0,
    key="alice",
    source="image.generation",
    name="dall-e-3",
    model="demo",
    device_seconds=2.0,
)
FIRST = """
CREATE TABLE images (at REAL, request TEXT, key TEXT, source TEXT, name TEXT, model TEXT,
    width INTEGER, height INTEGER, steps INTEGER, device_seconds REAL, prompt TEXT);
CREATE TABLE refusals (at INTEGER, key TEXT, source TEXT, name TEXT, model TEXT, error TEXT,
    count INTEGER);
CREATE VIEW entries AS SELECT at FROM images
"""
"""Of version 1, what matters."""
REFUSAL = Refusal(at=1000.0, key="bob", source="image.edit", name="", model="", error="401")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "usage.db"


@pytest.fixture
def ledger(file: Path) -> Ledger:
    return Ledger(file)


def rows(file: Path, table: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(file) as database:
        return list(database.execute(f"SELECT * FROM {table}"))


def test_an_entry_is_there_for_others_when_it_is_put_down(ledger: Ledger, file: Path) -> None:
    ledger.add([ENTRY, replace(ENTRY, prompt="a cat")])
    first, second = rows(file, "images")
    assert first == (
        *(1000.0, "req_1", "alice", "image.generation", "dall-e-3", "demo"),
        *(1000, 500, 8, 1.5, None),
    )
    assert second == (*first[:-1], "a cat")


def test_all_or_none(ledger: Ledger, file: Path) -> None:
    with pytest.raises(ResultNotStored):
        ledger.add([ENTRY, replace(ENTRY, steps=None)])  # type: ignore[arg-type]
    assert rows(file, "images") == []
    ledger.add([ENTRY])
    assert len(rows(file, "images")) == 1


def test_what_cannot_be_put_down_is_an_error(ledger: Ledger, file: Path) -> None:
    with sqlite3.connect(file) as database:
        database.execute("DROP TABLE images")
    with pytest.raises(ResultNotStored):
        ledger.add([ENTRY])


def test_refusals_are_counted_by_day_and_what_is_known(ledger: Ledger, file: Path) -> None:
    for at in (0.0, 1.0, DAY_S - 1.0, DAY_S + 0.0):
        ledger.refuse(replace(REFUSAL, at=at))
    ledger.refuse(replace(REFUSAL, error="rate_limit_exceeded"))
    assert rows(file, "refusals") == [
        (0, "bob", "image.edit", "", "", "401", 3),
        (0, "bob", "image.edit", "", "", "rate_limit_exceeded", 1),
        (DAY_S, "bob", "image.edit", "", "", "401", 1),
    ]


def test_a_refusal_that_cannot_be_counted_is_logged(
    ledger: Ledger, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with sqlite3.connect(file) as database:
        database.execute("DROP TABLE refusals")
    ledger.refuse(REFUSAL)
    assert "could not be counted" in caplog.text


def test_device_time_without_an_image_adds_up(ledger: Ledger, file: Path) -> None:
    ledger.add([ENTRY])
    for at, seconds in ((0.0, 1.0), (DAY_S - 1.0, 0.25), (DAY_S + 0.0, 4.0)):
        ledger.spend(replace(SPENT, at=at, device_seconds=seconds))
    assert rows(file, "spent") == [
        (0, "alice", "image.generation", "dall-e-3", "demo", 1.25),
        (DAY_S, "alice", "image.generation", "dall-e-3", "demo", 4.0),
    ]
    first, second = totals(file, ["day"])
    assert (first.images, first.requests, first.device_seconds) == (1, 1, 2.75)
    assert (second.images, second.requests, second.device_seconds) == (0, 0, 4.0)


def test_the_books_of_an_earlier_version_are_kept(file: Path) -> None:
    with closing(connect(file, FIRST, 1)) as earlier, earlier:
        earlier.execute(f"INSERT INTO images VALUES ({', '.join('?' * 11)})", astuple(ENTRY))
        earlier.execute("INSERT INTO refusals VALUES (0, 'bob', '', '', '', '401', 3)")
    later = Ledger(file)
    later.spend(SPENT)
    alice, bob = totals(file, ["key"])
    assert (alice.images, alice.device_seconds, bob.refusals) == (1, 3.5, 3)


def test_many_threads_lose_nothing(ledger: Ledger, file: Path) -> None:
    def work(number: int) -> None:
        for index in range(50):
            ledger.add([replace(ENTRY, request=f"req_{number}_{index}")] * 2)
            ledger.refuse(REFUSAL)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    ledger.sync()
    for thread in threads:
        thread.join()
    alice, bob = totals(file, ["key"])
    assert (alice.requests, alice.images, bob.refusals) == (400, 800, 400)


def test_a_sync_brings_it_into_the_file_itself(ledger: Ledger, file: Path) -> None:
    ledger.add([replace(ENTRY, prompt="a very red circle")])
    assert b"a very red circle" not in file.read_bytes()
    ledger.sync()
    assert b"a very red circle" in file.read_bytes()
