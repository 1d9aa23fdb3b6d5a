"""Times of passes: measured ones are believed, and what lies between them is interpolated."""

from pipelines.scheduling.curves import KINDS_KEPT, Curve, Curves


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


def test_what_is_kept_is_bounded_and_what_is_used_stays() -> None:
    curves = Curves()
    for key in range(KINDS_KEPT + 10):
        curves[str(key)].observe(1, 1.0)
        curves["1"].at(1)
    kept = curves.all().keys()
    assert len(kept) == KINDS_KEPT
    assert "1" in kept and "0" not in kept
