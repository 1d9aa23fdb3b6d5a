"""`GET /metrics`: what happened and how it goes, for Prometheus.

A key sees what was made for itself, the key of an admin what was made for each.
"""

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from server.services import Caller, Parts

router = APIRouter()


@router.get("/metrics")
async def metrics(request: Request, parts: Parts, caller: Caller) -> Response:
    """The text format, or OpenMetrics where that is accepted."""
    accept = request.headers.get("accept", "")
    # The fleet belongs to the event loop; what is made of its answer need not hold it.
    page, media_type = await run_in_threadpool(
        parts.metrics.page, parts.fleet.status(), accept, None if caller.sees_all else caller.name
    )
    return Response(page, headers={"content-type": media_type})
