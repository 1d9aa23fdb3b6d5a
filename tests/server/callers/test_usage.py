from dataclasses import replace
from pathlib import Path

import pytest

from server.callers.ledger import DAY_S, Ledger
from server.callers.usage import Bucket, Total, image_buckets, totals
from server.config import ConfigError
from tests.server.callers.test_ledger import ENTRY, REFUSAL


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two requests of alice's on two days, one of bob's, and two refusals."""
    file = tmp_path / "usage.db"
    ledger = Ledger(file)
    ledger.add([ENTRY, ENTRY])
    ledger.add([replace(ENTRY, request="req_2", at=DAY_S + 5.0, model="flux", name="flux-dev")])
    ledger.add([replace(ENTRY, request="req_3", key="bob", width=500, source="image.edit")])
    ledger.refuse(REFUSAL)
    ledger.refuse(replace(REFUSAL, key="alice", error="rate_limit_exceeded", name="dall-e-3"))
    return file


def test_what_is_added_up(file: Path) -> None:
    assert totals(file, ["key"]) == [
        Total(("alice",), 2, 3, 1.5, 24, 4.5, 1),
        Total(("bob",), 1, 1, 0.25, 8, 1.5, 1),
    ]


def test_by_day(file: Path) -> None:
    first, second = totals(file, ["day"])
    assert (first.of, first.requests, first.images) == (("1970-01-01",), 2, 3)
    assert (second.of, second.requests, second.images) == (("1970-01-02",), 1, 1)
    assert (first.refusals, second.refusals) == (2, 0)


def test_by_key_and_error(file: Path) -> None:
    found = {it.of: (it.requests, it.images, it.refusals) for it in totals(file, ["key", "error"])}
    assert found == {
        ("alice", None): (2, 3, 0),
        ("alice", "rate_limit_exceeded"): (0, 0, 1),
        ("bob", None): (1, 1, 0),
        ("bob", "401"): (0, 0, 1),
    }


def test_by_what_was_asked_for_and_what_served_it(file: Path) -> None:
    assert [it.of for it in totals(file, ["model"])] == [("",), ("demo",), ("flux",)]
    assert [it.of for it in totals(file, ["name"])] == [("",), ("dall-e-3",), ("flux-dev",)]


def test_since_a_day(file: Path) -> None:
    (total,) = totals(file, ["day"], since=DAY_S + 80_000.0)
    assert (total.images, total.refusals) == (1, 0)


def test_nothing_is_no_rows(tmp_path: Path) -> None:
    Ledger(tmp_path / "usage.db")
    assert totals(tmp_path / "usage.db", ["day"]) == []
    assert image_buckets(tmp_path / "usage.db", range(0, DAY_S, DAY_S)) == []


def test_buckets(file: Path) -> None:
    assert image_buckets(file, range(0, 2 * DAY_S, DAY_S)) == [
        Bucket(0, {}, 3, 2),
        Bucket(DAY_S, {}, 1, 1),
    ]
    assert image_buckets(file, range(960, 1020, 60)) == [Bucket(960, {}, 3, 2)]
    assert image_buckets(file, range(1020, DAY_S, 60)) == []


def test_buckets_by_fields(file: Path) -> None:
    day = range(0, DAY_S, DAY_S)
    assert image_buckets(file, day, ["api_key_id", "size"]) == [
        Bucket(0, {"api_key_id": "alice", "size": "1000x500"}, 2, 1),
        Bucket(0, {"api_key_id": "bob", "size": "500x500"}, 1, 1),
    ]


@pytest.mark.parametrize(
    ("only", "images"),
    [
        ({"api_key_id": ["bob"]}, 1),
        ({"api_key_id": ["bob", "alice"]}, 3),
        ({"api_key_id": ["bob"], "source": ["image.generation"]}, 0),
        ({"size": ["1000x500"]}, 2),
        ({"model": ["dall-e-3"]}, 3),
        ({"model": ["' OR 1=1 --"]}, 0),
        ({"model": []}, 0),
    ],
)
def test_only_some_values_count(file: Path, only: dict[str, list[str]], images: int) -> None:
    found = image_buckets(file, range(0, DAY_S, DAY_S), only=only)  # type: ignore[arg-type]
    assert sum(it.images for it in found) == images


def test_what_is_no_ledger(tmp_path: Path) -> None:
    (tmp_path / "usage.db").write_text("no database" * 100)
    with pytest.raises(ConfigError, match="cannot be used"):
        totals(tmp_path / "usage.db", ["day"])
