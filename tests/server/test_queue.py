import pytest

from server.queue import Pace


def after(*moments: float, **settings: float) -> Pace:
    """A pace that has seen work begin at 0 and images finish at these moments."""
    pace = Pace(**settings)
    pace.began(0)
    for moment in moments:
        pace.finished(moment, idle=False)
    return pace


def test_the_first_image_replaces_the_guess() -> None:
    assert after(30).wait_s(2) == 60


def test_the_first_few_count_alike_and_then_the_latest_most() -> None:
    assert after(30, 40).wait_s(1) == pytest.approx(20)
    pace = after(*range(1, 101))
    assert pace.wait_s(1) == pytest.approx(1)
    pace.finished(111, idle=False)
    assert pace.wait_s(1) == pytest.approx(2)


def test_idle_time_and_loading_are_not_the_pace() -> None:
    pace = after()
    pace.finished(2, idle=True)
    pace.began(1000)
    pace.finished(1002, idle=False)
    pace.began(1500)
    pace.finished(1502, idle=False)
    assert pace.wait_s(1) == pytest.approx(2)


def test_what_cannot_be_finished_in_time_may_ask_again_when_it_can() -> None:
    pace = after(10)
    assert pace.too_late_s(ahead=23, images=1, within_s=240) == 0
    assert pace.too_late_s(ahead=24, images=1, within_s=240) == 10
    assert pace.too_late_s(ahead=30, images=4, within_s=240) == 100


def test_what_never_could_may_ask_again_when_nothing_is_ahead() -> None:
    pace = after(100)
    assert pace.too_late_s(ahead=1, images=10, within_s=240) == 100
    assert pace.too_late_s(ahead=0, images=10, within_s=240) <= 0


def test_a_guess_refuses_nobody() -> None:
    assert Pace(guess_s=1000).too_late_s(ahead=60, images=4, within_s=240) <= 0
