import random
from math import ceil

import pytest

from server.callers.callers import Caller
from server.callers.limits import Limits
from server.errors import RateLimited

FIVE = Caller("alice", images_per_minute=5)
TWO = Caller("alice", in_queue=2)


def no_jitter() -> float:
    return 0.0


def refusal(limits: Limits, caller: Caller, images: int, now: float) -> RateLimited:
    with pytest.raises(RateLimited) as caught:
        limits.check(caller, images, "gpt-image-2", now)
    return caught.value


def accept(limits: Limits, caller: Caller, images: int, now: float) -> None:
    limits.check(caller, images, "gpt-image-2", now)
    limits.take(caller, images, now)


def test_a_minutes_images_may_come_at_once_and_then_one_by_one() -> None:
    limits = Limits()
    accept(limits, FIVE, 5, now=100.0)
    refusal(limits, FIVE, 1, now=111.9)
    accept(limits, FIVE, 1, now=112.0)
    refusal(limits, FIVE, 1, now=112.0)


def test_what_comes_back_is_never_more_than_a_minutes() -> None:
    limits = Limits()
    accept(limits, FIVE, 5, now=0.0)
    accept(limits, FIVE, 5, now=1e6)
    refusal(limits, FIVE, 1, now=1e6)


def test_the_words_and_headers_are_those_of_the_original() -> None:
    limits = Limits(no_jitter)
    accept(limits, Caller("alice", images_per_minute=250), 250, now=0.0)
    error = refusal(limits, Caller("alice", images_per_minute=250), 1, now=0.0)
    assert error.message == (
        "Rate limit reached for gpt-image-2 on images per min: Limit 250, Used 250, Requested 1. "
        "Please try again in 240ms."
    )
    assert error.headers == {
        "Retry-After": "1",
        "retry-after-ms": "240",
        "x-ratelimit-limit-images": "250",
        "x-ratelimit-remaining-images": "0",
        "x-ratelimit-reset-images": "60s",
    }


def test_what_is_left_is_told_as_it_is() -> None:
    limits = Limits(no_jitter)
    accept(limits, FIVE, 3, now=0.0)
    error = refusal(limits, FIVE, 4, now=0.0)
    assert "Limit 5, Used 3, Requested 4. Please try again in 24s." in error.message
    assert error.headers["x-ratelimit-remaining-images"] == "2"
    assert error.headers["x-ratelimit-reset-images"] == "36s"


def test_the_time_to_come_back_is_true_whatever_went_before() -> None:
    rng = random.Random(7)
    for _ in range(200):
        limits, now = Limits(), 1e5
        caller = Caller("alice", images_per_minute=rng.randint(1, 100))
        most = caller.images_per_minute or 0
        for _ in range(50):
            images, now = rng.randint(1, most), now + rng.expovariate(most / 60)
            try:
                accept(limits, caller, images, now)
            except RateLimited as error:
                assert error.wait_s <= ceil(error.wait_s) <= int(error.headers["Retry-After"])
                refusal(limits, caller, images, now + error.wait_s - 1e-4)
                now += error.wait_s
                accept(limits, caller, images, now)


@pytest.mark.parametrize("caller", [FIVE, Caller("alice", in_queue=5)])
def test_refusals_of_a_caller_are_told_to_come_back_one_after_the_other(caller: Caller) -> None:
    limits = Limits(no_jitter)
    accept(limits, caller, 5, now=0.0)
    told = [int(refusal(limits, caller, 1, now=0.0).headers["Retry-After"]) for _ in range(4)]
    assert told == ([12, 24, 36, 48] if caller.images_per_minute else [3, 4, 5, 6])
    assert refusal(limits, Caller("bob", images_per_minute=1), 2, now=0.0).wait_s == 60.0


def test_a_refusal_uses_nothing_up() -> None:
    limits = Limits()
    accept(limits, FIVE, 3, now=0.0)
    for _ in range(10):
        refusal(limits, FIVE, 3, now=0.0)
    accept(limits, FIVE, 2, now=0.0)


def test_so_many_images_wait_or_run_and_no_more() -> None:
    limits = Limits()
    accept(limits, TWO, 2, now=0.0)
    error = refusal(limits, TWO, 1, now=1e6)
    assert "on images in queue: Limit 2, Used 2, Requested 1." in error.message
    limits.left(TWO, made=True, now=1e6)
    accept(limits, TWO, 1, now=1e6)
    assert limits.held(TWO) == 2


@pytest.mark.parametrize("made", [True, False])
def test_what_is_made_or_given_up_leaves_the_count(made: bool) -> None:
    limits = Limits()
    for _ in range(3):
        accept(limits, TWO, 2, now=0.0)
        for _ in range(2):
            limits.left(TWO, made, now=1.0)
    assert limits.held(TWO) == 0


def test_the_wait_for_the_queue_is_the_measured_one() -> None:
    limits = Limits()
    caller = Caller("alice", in_queue=4)
    accept(limits, caller, 4, now=100.0)
    for now in (103.0, 106.0, 109.0):
        limits.left(caller, made=True, now=now)
        accept(limits, caller, 1, now=now)
    error = refusal(limits, caller, 2, now=109.0)
    assert error.wait_s == pytest.approx(6.0)
    assert 6 <= int(error.headers["Retry-After"]) <= 11


def test_idle_time_and_what_was_given_up_are_not_measured() -> None:
    limits = Limits()
    accept(limits, TWO, 1, now=0.0)
    limits.left(TWO, made=True, now=3.0)
    accept(limits, TWO, 2, now=1000.0)
    limits.left(TWO, made=False, now=1000.1)
    limits.left(TWO, made=True, now=1003.0)
    accept(limits, TWO, 2, now=1003.0)
    assert refusal(limits, TWO, 1, now=1003.0).wait_s == pytest.approx(3.0)


def test_callers_do_not_share_and_most_have_no_limit() -> None:
    limits = Limits()
    accept(limits, FIVE, 5, now=0.0)
    accept(limits, Caller("bob", images_per_minute=5), 5, now=0.0)
    for _ in range(1000):
        accept(limits, Caller(), 10, now=0.0)


def test_both_limits_hold_at_once() -> None:
    limits = Limits()
    both = Caller("alice", images_per_minute=5, in_queue=2)
    accept(limits, both, 2, now=0.0)
    assert "in queue" in refusal(limits, both, 1, now=0.0).message
    assert "per min" in refusal(limits, both, 4, now=0.0).message
