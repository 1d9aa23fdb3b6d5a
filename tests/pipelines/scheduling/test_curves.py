"""Times of passes: measured ones are believed, and what lies between them is interpolated."""

import pytest

from pipelines.scheduling.curves import BELIEVED_FOR, KINDS_KEPT, MAX_CAP, Curve, Curves


def test_between_and_beyond() -> None:
    curve = Curve({2: 2.0, 4: 3.0})
    assert curve.at(2) == 2.0
    assert curve.at(3) == 2.5
    assert curve.at(8) == 6.0
    assert curve.at(1) == 1.0
    assert Curve().at(5) == 0.0


def test_a_first_pass_that_compiles_is_soon_forgotten() -> None:
    curve = Curve()
    for seconds in (60.0, 1.0, 1.0):
        curve.observe(1, seconds)
    assert curve.at(1) <= 2.0


def test_rows_that_fit() -> None:
    curve = Curve()
    curve.observe(2, 1.0, memory=200.0)
    assert curve.most_rows(free=550.0) == 5
    curve.cap = 3
    assert curve.most_rows(free=550.0) == 3
    assert curve.most_rows(free=0.0) == 1


def test_largest_memory_of_a_row_fades() -> None:
    curve = Curve(row_bytes=10_000.0)  # as kept on disk, measured beside something else
    for _ in range(40):
        curve.observe(4, 1.0, memory=400.0)
    assert curve.row_bytes == pytest.approx(100.0, rel=0.02)
    curve.observe(1, 1.0, memory=300.0)
    assert curve.row_bytes == 300.0, "more counts at once"


def test_unknown_memory_changes_nothing() -> None:
    curve = Curve()
    curve.observe(2, 1.0, memory=200.0)
    for _ in range(40):
        curve.observe(2, 1.0)
    assert curve.row_bytes == 100.0


def test_cap_is_lifted_by_and_by() -> None:
    curve = Curve()
    curve.too_large(8)
    assert curve.cap == 4
    curve.too_large(4)
    assert curve.cap == 2
    caps = []
    for _ in range(6 * BELIEVED_FOR):
        curve.observe(2, 1.0)
        if curve.cap not in caps[-1:]:
            caps.append(curve.cap)
    assert caps == [2, 4, 8, 16, 32, None] and MAX_CAP == 64
    curve.too_large(3)
    assert curve.cap == 1


def test_what_is_kept_is_bounded_and_what_is_used_stays() -> None:
    curves = Curves()
    for key in range(KINDS_KEPT + 10):
        curves[str(key)].observe(1, 1.0)
        curves["1"].at(1)
    kept = curves.all().keys()
    assert len(kept) == KINDS_KEPT
    assert "1" in kept and "0" not in kept
