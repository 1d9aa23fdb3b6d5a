"""What the queue takes, and when to ask again."""

import itertools
from collections.abc import Callable
from math import inf

import pytest

from server.errors import QueueFull
from server.fleet.admission import Admission


@pytest.fixture
def admission() -> Admission:
    return Admission(max_images=10, max_wait_s=100.0)


def refused(check: Callable[..., None], *values: float) -> tuple[float, str]:
    with pytest.raises(QueueFull) as error:
        check(*values)
    return error.value.wait_s, error.value.reason


def test_as_many_images_as_there_is_room_for(admission: Admission) -> None:
    check = admission.check_images
    check(9, 9.0, 1, 1.0)
    assert refused(check, 10, 20.0, 1, 2.0) == (2.0, "queue_images")
    assert refused(check, 9, 18.0, 3, 2.0) == (4.0, "queue_images")
    assert refused(check, 0, 0.0, 11, 1.0) == (1.0, "queue_images")


def test_what_would_be_finished_too_late_is_put_off(admission: Admission) -> None:
    check = admission.check_wait
    check(90.0, 1, 10.0, inf)
    assert refused(check, 90.0, 1, 15.0, inf) == (5.0, "queue_seconds")
    assert refused(check, 90.0, 1, 15.0, 60.0) == (45.0, "queue_seconds")


def test_what_takes_too_long_alone_is_put_off_until_nothing_is_ahead(admission: Admission) -> None:
    assert refused(admission.check_wait, 7.0, 1, 500.0, inf) == (7.0, "queue_seconds")
    admission.check_wait(0.0, 1, 500.0, inf)


@pytest.mark.parametrize("images", [True, False])
def test_each_refusal_is_told_to_come_back_after_those_before_it(
    admission: Admission, images: bool
) -> None:
    told = []
    for _ in range(8):
        with pytest.raises(QueueFull) as error:
            if images:
                admission.check_images(10, 20.0, 1, 2.0)
            else:
                admission.check_wait(100.0, 1, 2.0, inf)
        told.append(int(error.value.headers["retry-after-ms"]) / 1000)
    for place, delay_s in enumerate(told):
        assert 2.0 * (place + 1) <= delay_s <= 1.2 * 2.0 * (place + 1) + 2.5
    assert all(later - earlier > 0.5 for earlier, later in itertools.pairwise(told))
