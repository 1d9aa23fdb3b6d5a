"""Jobs -> the answer to their request: run, encoded, handed over inline, by a link, or as events.

Shared by every endpoint that makes images. Knows the fleet's seam; not how a request was read.
"""

import asyncio
import time

import pybase64
from starlette.requests import Request
from starlette.responses import Response

from pipelines.core import Image, Job
from server.answering import accounts, headers
from server.answering.plan import unused
from server.answering.revising import Wording
from server.answering.streaming import EventStream
from server.answering.waiting import all_or_none
from server.handover.encode import SUFFIXES, encode, texts_of
from server.handover.responses import Result, images_body
from server.hosts import is_host
from server.prompts.policy import told_as
from server.reading.contract import ImageRequest
from server.services import Services

ANSWER_WITHIN_S = 240
"""Node's fetch gives up after 300 s without response headers, and its caller asks again: what
cannot be finished by then is better refused at once. A stream has its headers, and may wait."""


async def answer(
    request: Request, wanted: ImageRequest, wording: Wording, jobs: list[Job], services: Services
) -> Response:
    """Run the jobs and answer with all of their images; raises an ApiError or a JobError.

    A stream is answered while its jobs run; their failures are events of it.
    """
    response: Response
    if wanted.stream:
        response = EventStream(request, wanted, jobs, services.threads)
    else:
        left_s = max(0.0, ANSWER_WITHIN_S - wording.seconds)
        response = await _all_at_once(request, wanted, jobs, left_s, services)
    response.headers[headers.MODEL] = wanted.model
    if wanted.name != wanted.asked:
        response.headers[headers.SERVED_AS] = wanted.name
    response.headers[headers.SEEDS] = ",".join(str(job.seed) for job in jobs)
    if wording.rewrite is not None:
        response.headers[headers.REWRITE] = wording.rewrite
    ignored = (*wording.ignored, *unused(wanted, jobs[0], services.registry.models[wanted.model]))
    if ignored:
        response.headers[headers.IGNORED] = ",".join(ignored)
    return response


async def _all_at_once(
    request: Request, wanted: ImageRequest, jobs: list[Job], within_s: float, services: Services
) -> Response:
    loop = asyncio.get_running_loop()
    base_url = services.config.public_url or _base_url(request)

    async def finish(index: int, image: Image) -> Result:
        return await loop.run_in_executor(
            services.threads, _result, image, jobs[index], wanted, services, base_url
        )

    futures = accounts.submit(request, jobs, within_s=within_s)
    try:
        with told_as(wanted.profile):
            results = await all_or_none(futures, finish, request.receive)
    except BaseException:
        accounts.unanswered(request, zip(jobs, futures, strict=True))
        raise
    body = images_body(wanted, results, created=int(time.time()))
    made = [(job, future.result()) for job, future in zip(jobs, futures, strict=True)]
    await loop.run_in_executor(services.threads, accounts.answered, request, wanted, made)
    response = Response(body, media_type="application/json")
    if unread := made[0][1].unread:  # of one prompt, as all of them
        response.headers[headers.UNREAD] = ",".join(f"{it}={n}" for it, n in unread.items())
    return response


def _result(
    image: Image, job: Job, wanted: ImageRequest, services: Services, base_url: str
) -> Result:
    delivery = wanted.delivery
    file = encode(image, delivery, texts_of(job))
    if delivery.response_format == "b64_json":
        return Result(job.seed, job.prompt, b64_json=pybase64.b64encode_as_string(file))
    name = services.store.save(file, SUFFIXES[delivery.output_format])
    return Result(job.seed, job.prompt, url=services.links.make(base_url, name, time.time()))


def _base_url(request: Request) -> str:
    """Where the client found this server: what it sent as Host, if that can be one, or what a
    trusted proxy says."""
    host = request.headers.get("host", "")
    if not is_host(host):
        address, port = request.scope["server"]
        host = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    prefix = getattr(request.state, "prefix", "")
    return f"{request.scope['scheme']}://{host}{prefix}"
