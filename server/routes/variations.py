"""`POST /v1/images/variations`: a picture goes in, others like it come out."""

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from server import accounts
from server.contract import check
from server.delivery import answer
from server.editing import variation
from server.endpoints import VARIATIONS
from server.inbox import read_one_file
from server.plan import plan
from server.services import Caller, Parts

router = APIRouter()


@router.post("/v1/images/variations")
async def vary_image(request: Request, parts: Parts, caller: Caller) -> Response:
    """Make `n` pictures around one."""
    with await read_one_file(request, parts, "image") as sent:
        checked = check(VARIATIONS, sent.parameters, parts.registry, parts.config.strict)
        accounts.check(request, checked)
        moderation = await parts.policy.check(checked.prompt, checked, caller)
        wanted = await variation(checked, sent, parts, caller.name)
    request_id = request.state.request_id
    jobs = await run_in_threadpool(plan, wanted, parts.registry, request_id, caller, moderation)
    return await answer(request, wanted, jobs, parts)
