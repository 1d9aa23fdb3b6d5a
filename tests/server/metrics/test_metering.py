import asyncio
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from server.errors import QueueFull
from server.fleet.status import FleetStatus, QueueStatus
from server.metrics.metering import Metering
from server.metrics.metrics import Metrics
from tests.server.scrape import Scrape


async def nothing(*_: Any) -> Any:
    return {"type": "http.request"}


def counted(app: Any, **scope: Any) -> Scrape:
    """What is counted of one request to an app."""
    metrics = Metrics()
    asked = {"type": "http", "method": "GET", "path": "/", "headers": [], **scope}
    asyncio.run(Metering(app, metrics)(asked, nothing, nothing))
    page, _ = metrics.page(FleetStatus(True, [], QueueStatus(0, 0.0)), "")
    return Scrape(page.decode())


def requests(now: Scrape) -> list[str]:
    return [query for query in now if query.startswith("darkroom_requests_total")]


def test_what_no_route_took_has_no_model_either() -> None:
    now = counted(PlainTextResponse("ok"))
    assert requests(now) == ['darkroom_requests_total{model="",route="none",status="200"}']


def test_what_is_not_a_request_is_not_counted() -> None:
    assert requests(counted(nothing, type="lifespan")) == []


def test_a_client_that_left_was_told_nothing() -> None:
    (query,) = requests(counted(nothing))
    assert 'status="499"' in query


def test_the_error_counts_that_was_told_in_the_answer() -> None:
    """As a stream does, which has begun well."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = {"error": QueueFull(1.0, "queue_seconds"), "asked": ("name", "flux")}
        await PlainTextResponse("ok")(scope, receive, send)

    now = counted(app)
    assert requests(now) == ['darkroom_requests_total{model="flux",route="none",status="429"}']
    assert now['darkroom_refusals_total{reason="queue_seconds"}'] == 1


def test_a_request_that_is_cancelled_is_counted_all_the_same() -> None:
    metrics = Metrics()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise asyncio.CancelledError

    async def run() -> None:
        await Metering(app, metrics)({"type": "http"}, nothing, nothing)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run())
    page, _ = metrics.page(FleetStatus(True, [], QueueStatus(0, 0.0)), "")
    assert len(requests(Scrape(page.decode()))) == 1
