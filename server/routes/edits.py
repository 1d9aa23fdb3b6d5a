"""`POST /v1/images/edits`: pictures and a prompt go in, changed pictures come out."""

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from server.answering import accounts
from server.answering.delivery import answer
from server.answering.editing import edit
from server.answering.inbox import read_edit
from server.answering.plan import plan
from server.answering.revising import revised
from server.reading.contract import check
from server.services import Caller, Parts

router = APIRouter()


@router.post("/v1/images/edits")
async def edit_image(request: Request, parts: Parts, caller: Caller) -> Response:
    """Repaint the transparent part of a picture, or remake all of it, `n` times."""
    endpoint, sent = await read_edit(request, parts)
    with sent:
        checked = check(endpoint, sent.parameters, parts.registry, parts.config.strict)
        accounts.check(request, checked)
        moderation = await parts.policy.check(checked.prompt, checked, caller)
        wanted = await edit(checked, sent, parts, caller.name)
    wording = await revised(request, wanted, caller, parts)
    request_id = request.state.request_id
    jobs = await run_in_threadpool(
        plan, wanted, wording.prompt, parts.registry, request_id, caller, moderation
    )
    return await answer(request, wanted, wording, jobs, parts)
