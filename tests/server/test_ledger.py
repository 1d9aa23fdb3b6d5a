import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from server.errors import ResultNotStored
from server.ledger import DAY_S, Entry, Ledger, Refusal
from server.usage import totals

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
