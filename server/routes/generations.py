"""`POST /v1/images/generations`: a prompt goes in, images come out."""

from fastapi import APIRouter, Request, Response

from server.answering import accounts
from server.answering.delivery import answer
from server.answering.plan import plan
from server.answering.revising import revised
from server.reading.body import read_json
from server.reading.contract import read_generation
from server.services import Caller, Parts

router = APIRouter()


@router.post("/v1/images/generations")
async def create_image(request: Request, parts: Parts, caller: Caller) -> Response:
    """Make `n` images of a prompt."""
    body = await read_json(request)
    wanted = read_generation(body, parts.registry, parts.config.strict)
    accounts.check(request, wanted)
    moderation = await parts.policy.check(wanted.prompt, wanted, caller)
    wording = await revised(request, wanted, caller, parts)
    request_id = request.state.request_id
    jobs = plan(wanted, wording.prompt, parts.registry, request_id, caller, moderation)
    return await answer(request, wanted, wording, jobs, parts)
