"""What happened, counted for Prometheus: requests, refusals, rewrites, jobs, images.

Each app has a registry of its own. Knows names and numbers; what the devices say of themselves is
put beside it by `readings`, and who asked for what is seen by `metering`.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

from pipelines.content import CATEGORIES
from pipelines.core import (
    Blocked,
    DoesNotFit,
    Image,
    Job,
    JobCancelled,
    JobError,
    JobFailed,
    ModelUnavailable,
    WorkerLost,
)
from server.errors import Reason
from server.fleet.status import FleetStatus
from server.fleet.watching import Observer
from server.metrics.readings import readings
from server.prompts.rewriter import Outcome
from server.refusals import Stage

MOST_KEYS = 200
"""So many names of keys are told apart; those that come later are counted together."""
OTHER_KEYS = "(others)"

OUTCOMES: Mapping[type[JobError], str] = {
    JobCancelled: "cancelled",
    JobFailed: "failed",
    Blocked: "blocked",
    DoesNotFit: "does_not_fit",
    ModelUnavailable: "model_unavailable",
    WorkerLost: "lost",
}
"""What becomes of jobs that are no `image`."""

_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 240, 600)
_WAITS = (0.01, 0.1, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 240, 600)


class Metrics(Observer):
    """The counters of one server. Any thread may count; a scrape may run beside that."""

    def __init__(self) -> None:
        self._counted = CollectorRegistry()
        ProcessCollector(registry=self._counted)
        self._requests = self._counter(
            "darkroom_requests", "Requests that are over.", "route", "model", "status"
        )
        self._seconds = Histogram(
            "darkroom_request_duration_seconds",
            "How long good answers took, to their last byte.",
            ("route", "model"),
            buckets=_SECONDS,
            registry=self._counted,
        )
        self._refusals = self._counter(
            "darkroom_refusals", "Requests answered with 429, by the limit they met.", "reason"
        )
        self._not_allowed = self._counter(
            "darkroom_policy_refusals", "What the content policy refused.", "stage", "category"
        )
        self._rewrites = self._counter(
            "darkroom_rewrites", "Prompts that the rewriter was asked for.", "outcome"
        )
        self._waits = Histogram(
            "darkroom_queue_wait_seconds",
            "From a job's acceptance until a device had it.",
            buckets=_WAITS,
            registry=self._counted,
        )
        self._jobs = self._counter("darkroom_jobs", "Jobs that came to their end.", "outcome")
        self._images = self._counter("darkroom_images", "Images that were made.", "model")
        self._of_keys = self._counter("darkroom_key_images", "Images made for a key.", "key")
        self._seconds_of_keys = self._counter(
            "darkroom_key_device_seconds", "Device time of the images made for a key.", "key"
        )
        self._keys: set[str] = set()
        self._begin_at_zero()

    def dispatched(self, job: Job, waited_s: float) -> None:
        """A job was given to a device, after so long in the queue."""
        self._waits.observe(waited_s)

    def ended(self, job: Job, future: asyncio.Future[Image]) -> None:
        """A job has come to its end: an image, an error, or a cancellation."""
        error = JobCancelled() if future.cancelled() else future.exception()
        if error is not None:
            self._jobs.labels(_outcome(error)).inc()
            return
        self._jobs.labels("image").inc()
        self._images.labels(job.model).inc()
        key = self._key(job.caller)
        self._of_keys.labels(key).inc()
        self._seconds_of_keys.labels(key).inc(future.result().device_seconds)

    def answered(self, route: str, model: str, status: int, seconds: float) -> None:
        """A request is over; `model` is empty where none was found for it."""
        self._requests.labels(route, model, status).inc()
        if status < 400:
            self._seconds.labels(route, model).observe(seconds)

    def refused(self, reason: Reason) -> None:
        """A request was told to come back later."""
        self._refusals.labels(reason).inc()

    def not_allowed(self, stage: Stage, categories: Iterable[str]) -> None:
        """The content policy refused a prompt, or an image, for these categories."""
        for category in categories:
            self._not_allowed.labels(stage, category).inc()

    def rewritten(self, outcome: Outcome) -> None:
        """The rewriter was asked for a prompt, and this became of it."""
        self._rewrites.labels(outcome).inc()

    def page(
        self, fleet: FleetStatus, accept: str, only_key: str | None = None
    ) -> tuple[bytes, str]:
        """All of it with what the fleet says, for an `Accept` header; and its content type.

        `only_key`: of what is told apart by keys, that of this one alone.
        """
        encode, content_type = choose_encoder(accept)
        return encode(_Page(self._counted, fleet, only_key)), content_type

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(name, what, labels, registry=self._counted)

    def _begin_at_zero(self) -> None:
        # What only appears with its first event has not increased, to an alert.
        for outcome in ("image", *OUTCOMES.values()):
            self._jobs.labels(outcome)
        for reason in get_args(Reason):
            self._refusals.labels(reason)
        for stage in get_args(Stage):
            for category in CATEGORIES:
                self._not_allowed.labels(stage, category)
        for outcome in get_args(Outcome):
            self._rewrites.labels(outcome)

    def _key(self, name: str) -> str:
        if len(self._keys) < MOST_KEYS:
            self._keys.add(name)
        return name if name in self._keys else OTHER_KEYS


class _Page:
    """What one scrape sees."""

    def __init__(
        self, counted: CollectorRegistry, fleet: FleetStatus, only_key: str | None
    ) -> None:
        self._counted, self._fleet, self._only_key = counted, fleet, only_key

    def collect(self) -> Iterator[Metric]:
        for family in self._counted.collect():
            family.samples = [it for it in family.samples if self._shows(it)]
            yield family
        yield from readings(self._fleet)

    def _shows(self, sample: Sample) -> bool:
        # When a series began is told by its absence before; said, it is a series more.
        if sample.name.endswith("_created"):
            return False
        return self._only_key in (None, sample.labels.get("key", self._only_key))


def _outcome(error: BaseException) -> str:
    found = (OUTCOMES[kind] for kind in type(error).__mro__ if kind in OUTCOMES)
    return next(found, "failed")
