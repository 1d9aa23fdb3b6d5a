"""Whose request it is: from the limits of its caller to its line in the ledger.

What is known of a request is kept in its `state`, for whoever refuses it. Knows callers, limits and
the ledger; not how images are made or handed over.
"""

import asyncio
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol

from starlette.requests import Request

from pipelines.core import Blocked, Image, Job
from server import answers
from server.callers.callers import Caller
from server.callers.ledger import Entry, Refusal, Spent
from server.fleet.queue import Show
from server.reading.contract import ImageRequest
from server.reading.kinds import Integer
from server.services import Services

SOURCES: Mapping[str, str] = {
    "/v1/images/generations": "image.generation",
    "/v1/images/edits": "image.edit",
    "/v1/images/variations": "image.variation",
}
"""The endpoints that are put down, and what the ledger calls them."""

_UNREAD = 499


class Asked(Protocol):
    """What has to be known of a request for its limits to be checked."""

    @property
    def name(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def n(self) -> int: ...


def check(request: Request, asked: Asked) -> None:
    """Raises RateLimited, an InvalidRequest for more images than can ever be taken at once, and as
    `Fleet.check`.

    To be asked before anything is made of the request: what is refused costs nothing.
    """
    request.state.asked = asked.name, asked.model
    services, caller = _services(request), _caller(request)
    most = min(services.config.max_queue, caller.most_at_once)
    Integer(1, int(most)).read("n", asked.n)
    services.limits.check(caller, asked.n, asked.name, time.monotonic())
    services.fleet.check(asked.n)


def submit(
    request: Request, jobs: Sequence[Job], show: Show | None = None, within_s: float = math.inf
) -> list[asyncio.Future[Image]]:
    """Give the jobs to the fleet within the caller's limits; raises RateLimited, and as `Fleet`.

    What is refused uses nothing up, and whatever becomes of a job, it ends being in the queue.
    """
    services, caller = _services(request), _caller(request)
    name, _ = _asked(request)
    services.limits.check(caller, len(jobs), name, time.monotonic())
    spent = partial(_spent, request)
    futures = services.fleet.submit(jobs, show=show, within_s=within_s, spent=spent)
    services.limits.take(caller, len(jobs), time.monotonic())
    for future in futures:
        future.add_done_callback(partial(_left, services, caller))
    return futures


def answered(request: Request, wanted: ImageRequest, made: Iterable[tuple[Job, Image]]) -> None:
    """Put images down that are about to be answered. Blocks; raises ResultNotStored."""
    services = _services(request)
    width, height = wanted.delivery.size
    entries = [
        Entry(
            at=time.time(),
            request=request.state.request_id,
            key=job.caller,
            source=SOURCES[request.url.path],
            name=wanted.name,
            model=job.model,
            width=width,
            height=height,
            steps=image.steps,
            device_seconds=image.device_seconds,
            prompt=wanted.prompt if services.config.keep_prompts else None,
        )
        for job, image in made
    ]
    services.ledger.add(entries)


def unanswered(request: Request, made: Iterable[tuple[Job, asyncio.Future[Image]]]) -> None:
    """Have the device time of images counted that nobody gets; returns at once."""
    for job, future in made:
        if future.done() and not future.cancelled() and future.exception() is None:
            _spent(request, job, future.result().device_seconds)


def refused(request: Request, error: Exception) -> None:
    """Have an error counted that is told to a client; returns at once."""
    source = SOURCES.get(request.url.path)
    told = answers.answer(error)
    if source is None or told.status == _UNREAD:
        return
    name, model = _asked(request)
    refusal = Refusal(
        at=time.time(),
        key=_caller(request).name,
        source=source,
        name=name,
        model=model,
        error=told.code or str(told.status),
    )
    services = _services(request)
    services.threads.submit(services.ledger.refuse, refusal)


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


def _caller(request: Request) -> Caller:
    """As `services.caller_of` found it; anyone before."""
    caller: Caller = getattr(request.state, "caller", Caller())
    return caller


def _asked(request: Request) -> tuple[str, str]:
    """The name that was asked for, and the model that serves it; empty before they are known."""
    asked: tuple[str, str] = getattr(request.state, "asked", ("", ""))
    return asked


def _spent(request: Request, job: Job, seconds: float) -> None:
    name, _ = _asked(request)
    spent = Spent(
        at=time.time(),
        key=job.caller,
        source=SOURCES[request.url.path],
        name=name,
        model=job.model,
        device_seconds=seconds,
    )
    services = _services(request)
    services.threads.submit(services.ledger.spend, spent)


def _left(services: Services, caller: Caller, future: asyncio.Future[Image]) -> None:
    # What is kept back was made.
    made = not future.cancelled() and isinstance(future.exception(), Blocked | None)
    services.limits.left(caller, made, time.monotonic())
