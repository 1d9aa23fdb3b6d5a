"""What the queue takes, and when to ask again."""

from math import inf

import pytest

from server.admission import Admission
from server.errors import QueueFull

ADMISSION = Admission(most_images=10, most_wait_s=100.0)


def check(
    ahead: int, wait_s: float, *work_s: float, within_s: float = inf, measured: bool = True
) -> None:
    ADMISSION.check(ahead, wait_s, work_s, 1, within_s, measured)


def refused(*args: float, **kwargs: float) -> float:
    with pytest.raises(QueueFull) as error:
        check(*args, **kwargs)  # type: ignore[arg-type]
    return error.value.wait_s


def test_as_many_images_as_there_is_room_for() -> None:
    check(9, 9.0, 1.0)
    assert refused(10, 20.0, 1.0) == 2.0
    assert refused(9, 18.0, 1.0, 1.0, 1.0) == 4.0


def test_what_would_be_finished_too_late_is_put_off() -> None:
    check(5, 90.0, 5.0, 5.0)
    assert refused(5, 90.0, 15.0) == 5.0
    assert refused(5, 90.0, 15.0, within_s=60.0) == 45.0


def test_what_takes_too_long_alone_is_put_off_until_nothing_is_ahead() -> None:
    assert refused(1, 7.0, 500.0) == 7.0
    check(0, 0.0, 500.0)


def test_a_guess_refuses_nobody() -> None:
    check(5, 500.0, 5.0, measured=False)
