"""What the queue takes, and when to ask again."""

from collections.abc import Callable
from math import inf

import pytest

from server.errors import QueueFull
from server.fleet.admission import Admission

ADMISSION = Admission(most_images=10, most_wait_s=100.0)


def refused(check: Callable[..., None], *values: float) -> tuple[float, str]:
    with pytest.raises(QueueFull) as error:
        check(*values)
    return error.value.wait_s, error.value.reason


def test_as_many_images_as_there_is_room_for() -> None:
    check = ADMISSION.check_images
    check(9, 9.0, 1)
    assert refused(check, 10, 20.0, 1) == (2.0, "queue_images")
    assert refused(check, 9, 18.0, 3) == (4.0, "queue_images")
    assert refused(check, 0, 0.0, 11) == (1.0, "queue_images")


def test_what_would_be_finished_too_late_is_put_off() -> None:
    check = ADMISSION.check_wait
    check(90.0, 10.0, inf)
    assert refused(check, 90.0, 15.0, inf) == (5.0, "queue_seconds")
    assert refused(check, 90.0, 15.0, 60.0) == (45.0, "queue_seconds")


def test_what_takes_too_long_alone_is_put_off_until_nothing_is_ahead() -> None:
    assert refused(ADMISSION.check_wait, 7.0, 500.0, inf) == (7.0, "queue_seconds")
    ADMISSION.check_wait(0.0, 500.0, inf)
