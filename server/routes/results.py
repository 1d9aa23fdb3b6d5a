"""`GET /images/img-….png`: a result behind its signed link. No key: the link is the key."""

import time

from fastapi import APIRouter, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse

from server.errors import ResultNotFound
from server.keeping.links import PATH
from server.services import Parts

router = APIRouter()


@router.api_route(PATH + "{name}", methods=["GET", "HEAD"])
async def fetch_result(
    name: str, parts: Parts, st: str = "", se: str = "", sig: str = ""
) -> Response:
    """The file, if the link is good and its hour is not over."""
    parts.links.check(name, st, se, sig, time.time())
    path = await run_in_threadpool(parts.store.find, name)
    if path is None:
        raise ResultNotFound("This result is no longer there.")
    return FileResponse(path, headers={"cache-control": "private, max-age=3600, immutable"})
