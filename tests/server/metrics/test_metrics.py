import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from pipelines.core import (
    DoesNotFit,
    Image,
    Job,
    JobCancelled,
    JobError,
    JobFailed,
    ModelUnavailable,
    WorkerLost,
)
from server.fleet.status import FleetStatus, QueueStatus
from server.metrics.metrics import MOST_KEYS, OTHER_KEYS, Metrics
from tests.server.scrape import Scrape

JOB = Job(
    id="1", model="flux", prompt="a", width=64, height=64, seed=1, steps=4, guidance_scale=1.0,
    caller="anna",
)  # fmt: skip
IMAGE = Image(1, 1, b"abc", device_seconds=0.25)
NO_FLEET = FleetStatus(True, [], QueueStatus(0, 0.0))


@contextmanager
def future(outcome: Image | JobError | None) -> Iterator[asyncio.Future[Image]]:
    """As the fleet leaves one; None: nobody waits any more."""
    loop = asyncio.new_event_loop()
    try:
        made: asyncio.Future[Image] = loop.create_future()
        if outcome is None:
            made.cancel()
        elif isinstance(outcome, Image):
            made.set_result(outcome)
        else:
            made.set_exception(outcome)
            made.exception()
        yield made
    finally:
        loop.close()


def ended(metrics: Metrics, outcome: Image | JobError | None, job: Job = JOB) -> None:
    with future(outcome) as made:
        metrics.ended(job, made)


def scrape(metrics: Metrics) -> Scrape:
    page, _ = metrics.page(NO_FLEET, "")
    return Scrape(page.decode())


def test_an_image_is_counted_for_its_model_and_its_key() -> None:
    metrics = Metrics()
    ended(metrics, IMAGE)
    ended(metrics, IMAGE)
    ended(metrics, IMAGE, replace(JOB, model="sdxl", caller=""))
    now = scrape(metrics)
    assert now['darkroom_images_total{model="flux"}'] == 2
    assert now['darkroom_images_total{model="sdxl"}'] == 1
    assert now['darkroom_key_images_total{key="anna"}'] == 2
    assert now['darkroom_key_device_seconds_total{key="anna"}'] == 0.5
    assert now['darkroom_key_images_total{key=""}'] == 1
    assert now['darkroom_jobs_total{outcome="image"}'] == 3


@pytest.mark.parametrize(
    ("outcome", "name"),
    [
        (None, "cancelled"),
        (JobCancelled(), "cancelled"),
        (JobFailed("a"), "failed"),
        (DoesNotFit(64, 64), "does_not_fit"),
        (ModelUnavailable("a"), "model_unavailable"),
        (WorkerLost("a"), "lost"),
    ],
)
def test_what_became_of_a_job(outcome: JobError | None, name: str) -> None:
    metrics = Metrics()
    ended(metrics, outcome)
    jobs = {query: it for query, it in scrape(metrics).items() if "darkroom_jobs" in query}
    assert len(jobs) == 7
    assert {query for query, it in jobs.items() if it} == {
        f'darkroom_jobs_total{{outcome="{name}"}}'
    }
    assert not any("darkroom_images" in query for query in scrape(metrics))


def test_the_wait_for_a_device() -> None:
    metrics = Metrics()
    for waited_s in (0.0, 3.0, 30.0):
        metrics.dispatched(JOB, waited_s)
    now = scrape(metrics)
    assert now["darkroom_queue_wait_seconds_count"] == 3
    assert now["darkroom_queue_wait_seconds_sum"] == 33.0
    assert now['darkroom_queue_wait_seconds_bucket{le="5.0"}'] == 2


def test_only_good_answers_are_timed() -> None:
    metrics = Metrics()
    metrics.answered("/v1/images/edits", "flux", 200, 3.0)
    metrics.answered("/v1/images/edits", "flux", 429, 0.001)
    now = scrape(metrics)
    labels = 'model="flux",route="/v1/images/edits"'
    assert now[f'darkroom_requests_total{{{labels},status="200"}}'] == 1
    assert now[f'darkroom_requests_total{{{labels},status="429"}}'] == 1
    assert now[f"darkroom_request_duration_seconds_count{{{labels}}}"] == 1
    assert now[f"darkroom_request_duration_seconds_sum{{{labels}}}"] == 3.0


def test_keys_beyond_the_bound_are_counted_together() -> None:
    metrics = Metrics()
    for number in range(MOST_KEYS + 3):
        ended(metrics, IMAGE, replace(JOB, caller=f"key-{number}"))
    ended(metrics, IMAGE, replace(JOB, caller="key-0"))
    now = scrape(metrics)
    series = [query for query in now if query.startswith("darkroom_key_images_total")]
    assert len(series) == MOST_KEYS + 1
    assert now['darkroom_key_images_total{key="key-0"}'] == 2
    assert now[f'darkroom_key_images_total{{key="{OTHER_KEYS}"}}'] == 3


def test_a_name_of_a_key_cannot_break_the_page() -> None:
    metrics = Metrics()
    name = 'a"} 9\nb\\{é'
    ended(metrics, IMAGE, replace(JOB, caller=name))
    keys = {it.labels["key"] for it in scrape(metrics).samples if "key" in it.labels}
    assert keys == {name}


def test_what_can_be_alerted_on_is_there_before_it_happens() -> None:
    now = scrape(Metrics())
    assert now['darkroom_jobs_total{outcome="lost"}'] == 0
    assert now['darkroom_refusals_total{reason="queue_images"}'] == 0


def test_two_servers_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.refused("queue_images")
    query = 'darkroom_refusals_total{reason="queue_images"}'
    assert (scrape(one)[query], scrape(other)[query]) == (1, 0)


def test_openmetrics_to_whom_accepts_it() -> None:
    page, media_type = Metrics().page(NO_FLEET, "application/openmetrics-text;version=1.0.0")
    assert media_type.startswith("application/openmetrics-text")
    names = {it.name for it in text_string_to_metric_families(page.decode())}
    assert {"darkroom_jobs", "darkroom_ready"} <= names
