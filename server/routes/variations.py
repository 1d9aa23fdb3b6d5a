"""`POST /v1/images/variations`: a picture goes in, others like it come out."""

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from server.answering import accounts
from server.answering.delivery import answer
from server.answering.editing import variation
from server.answering.inbox import read_one_file
from server.answering.plan import plan
from server.answering.revising import Wording
from server.reading.contract import check
from server.reading.endpoints import VARIATIONS
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
    wording = Wording(wanted.prompt, wanted.ignored)
    jobs = await run_in_threadpool(
        plan, wanted, wording.prompt, parts.registry, request_id, caller, moderation
    )
    return await answer(request, wanted, wording, jobs, parts)
