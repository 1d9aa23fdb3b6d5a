"""Clients that are refused together: when they return, and whether one gives up."""

import heapq
import itertools
import random
from collections.abc import Mapping
from math import inf

import httpx2
import pytest
from openai import OpenAI

from server.answers import TABLE
from server.errors import Draining, NoDevice, QueueFull
from server.fleet.admission import Admission
from server.handover.responses import error_response
from server.retries import SDK_MAX_DELAY_S, PendingRetries, retry_after_headers

MAX_RETRIES = 2
"""Of the official SDKs, unless they are told otherwise."""
CLIENT = OpenAI(api_key="sk-test", base_url="http://darkroom.test/v1", max_retries=MAX_RETRIES)


def python_delay_s(headers: Mapping[str, str], retries_left: int) -> float | None:
    """What openai-python itself makes of a refusal; None: it gives up."""
    response = httpx2.Response(429, headers=headers)
    if not (retries_left and CLIENT._should_retry(response)):
        return None
    options: object = type("Options", (), {"get_max_retries": lambda self, most: most})()
    return CLIENT._calculate_retry_timeout(retries_left, options, response.headers)  # type: ignore[arg-type]


def node_delay_s(headers: Mapping[str, str], retries_left: int) -> float | None:
    """What openai-node 7.59 makes of it (`retryRequest` in its client)."""
    if not retries_left:
        return None
    told = headers.get("retry-after-ms", float(headers["Retry-After"]) * 1000)
    delay_s = float(told) / 1000
    return delay_s if 0 <= delay_s <= 60 else 0.5 * 2 ** (MAX_RETRIES - retries_left)


SDKS = (python_delay_s, node_delay_s)


class Burst:
    """Clients that all ask at once of a server with a bounded queue, by a clock that is a number.

    The server makes `lanes` images at a time, each in `image_s`, give or take `noise`.
    """

    def __init__(self, clients: int, max_images: int, lanes: int, image_s: float, noise: float):
        self.rng = random.Random(clients * 1000 + lanes)
        self.now = 0.0
        self.lanes, self.image_s, self.noise = lanes, image_s, noise
        self.running: list[float] = []
        self.waiting = 0
        self.admission = Admission(
            max_images, 600.0, PendingRetries(self.rng.random), lambda: self.now
        )
        self.gave_up = 0
        self.refusals: list[tuple[float, float, float]] = []
        """When, the predicted wait, and what the client does."""
        self.clients = clients

    def run(self, delay_of: object) -> None:
        arrivals = [(0.0, n, MAX_RETRIES) for n in range(self.clients)]
        heapq.heapify(arrivals)
        while arrivals:
            self.now, client, retries_left = heapq.heappop(arrivals)
            self._finish()
            try:
                ahead = len(self.running) + self.waiting
                wait_s = self._wait_s()
                self.admission.check_images(ahead, wait_s, 1, self.image_s / self.lanes)
                self.admission.check_wait(wait_s, 1, self.image_s / self.lanes, inf)
            except QueueFull as error:
                delay_s = delay_of(error.headers, retries_left)  # type: ignore[operator]
                if delay_s is None:
                    self.gave_up += 1
                    continue
                self.refusals.append((self.now, error.wait_s, delay_s))
                heapq.heappush(arrivals, (self.now + delay_s, client, retries_left - 1))
            else:
                self.waiting += 1
                self._start(self.now)

    def _start(self, now: float) -> None:
        while self.waiting and len(self.running) < self.lanes:
            self.waiting -= 1
            actual_s = self.image_s * self.rng.uniform(1 - self.noise, 1 + self.noise)
            heapq.heappush(self.running, now + actual_s)

    def _finish(self) -> None:
        while self.running and self.running[0] <= self.now:
            self._start(heapq.heappop(self.running))

    def _wait_s(self) -> float:
        left = sum(max(0.0, end - self.now) for end in self.running)
        return (left + self.waiting * self.image_s) / self.lanes


@pytest.mark.parametrize("sdk", SDKS)
@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize("image_s", [0.05, 1.0, 4.0])
def test_eight_clients_refused_at_once_all_get_their_images(
    sdk: object, lanes: int, noise: float, image_s: float
) -> None:
    burst = Burst(12, max_images=4, lanes=lanes, image_s=image_s, noise=noise)
    burst.run(sdk)
    first = [delay_s for now, _, delay_s in burst.refusals if now == 0.0]
    assert len(first) == 8
    assert burst.gave_up == 0
    gaps = [b - a for a, b in itertools.pairwise(sorted(first))]
    assert sum(gap > 0.01 for gap in gaps) >= 5
    assert all(delay_s >= wait_s for _, wait_s, delay_s in burst.refusals)


@pytest.mark.parametrize("sdk", SDKS)
def test_a_wait_that_is_too_long_for_one_retry_is_reached_by_two(sdk: object) -> None:
    burst = Burst(8, max_images=4, lanes=1, image_s=15.0, noise=0.0)
    burst.run(sdk)
    assert burst.gave_up == 0
    predicted = max(wait_s for _, wait_s, _ in burst.refusals)
    assert predicted + 3 * 15.0 >= SDK_MAX_DELAY_S


@pytest.mark.parametrize("delay_s", [0.0, 0.2, 1.0, 7.2, 60.0, 61.0, 119.0, 120.0])
def test_headers_are_never_shorter_than_the_delay(delay_s: float) -> None:
    headers = retry_after_headers(delay_s)
    assert int(headers["Retry-After"]) >= delay_s
    told_s = int(headers["retry-after-ms"]) / 1000
    assert told_s * (1 if delay_s <= SDK_MAX_DELAY_S else 2) >= delay_s
    assert 0 < told_s <= SDK_MAX_DELAY_S


def test_a_delay_that_no_sdk_waits_for_is_told_as_it_is() -> None:
    headers = retry_after_headers(500.0)
    assert headers == {"Retry-After": "500"}
    assert python_delay_s(headers, MAX_RETRIES) is None


def test_retries_of_unavailable_servers_are_spread_by_chance() -> None:
    for error in (Draining(), NoDevice()):
        told = {error_response(error).headers["retry-after-ms"] for _ in range(8)}
        assert len(told) > 4
        least_s = TABLE[type(error)].retry_after_s
        assert least_s is not None
        assert all(1000 * least_s <= int(each) <= 60_000 for each in told)


@pytest.mark.parametrize("max_images", [4, 16])
@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_bursts_beyond_what_waits_lose_nobody(max_images: int, lanes: int) -> None:
    for seed in range(10):
        for sdk in SDKS:
            burst = Burst(3 * max_images, max_images, lanes, image_s=1.0, noise=0.3)
            burst.rng.seed(seed)
            burst.run(sdk)
            assert burst.gave_up == 0


def test_clients_that_ignore_the_delay_do_not_postpone_the_others_without_bound() -> None:
    retries = PendingRetries(lambda: 0.0)
    how = {"image_s": 2.0, "max_images": 10, "exact": True}
    delays = [retries.delay(1, 2.0, now=0.0, **how) for _ in range(1000)]
    assert delays[:33] == [2.0 * n for n in range(33)]
    assert max(delays) == 64.0
    assert retries.delay(1, 2.0, now=100.0, **how) == 0.0


def test_a_prediction_that_was_too_short_is_followed_by_a_larger_margin() -> None:
    retries = PendingRetries(lambda: 0.0)
    how = {"wait_s": 10.0, "image_s": 1.0, "max_images": 10}
    first = retries.delay(1, now=0.0, **how)
    assert retries.delay(1, now=10.0 + first, **how) > first
