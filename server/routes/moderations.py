"""`POST /v1/moderations`: what the content policy finds in texts, and in pictures that are sent."""

from fastapi import APIRouter, Request, Response

from server.answering import waiting
from server.answering.inbox import read_moderation
from server.answering.viewing import view
from server.handover.responses import json_response
from server.prompts.moderations import BODY, MODELS, REQUIRED, Input, Verdict, answer, no_pictures
from server.prompts.policy import together
from server.reading.kinds import read_table
from server.reading.spool import Sent
from server.services import Caller, Parts, Services

router = APIRouter()


@router.post("/v1/moderations")
async def moderate(request: Request, parts: Parts, caller: Caller) -> Response:
    """Judge as the prompts and the images of this caller are judged, or would be if they were."""
    with await read_moderation(request, parts) as body:
        sent = {name: value for name, value in body.parameters.items() if value is not None}
        values = read_table(BODY, sent, REQUIRED)
        judged = _judged(values["input"], body, parts, caller.name)
        (verdicts,) = await waiting.together([judged], [], request.receive)
    strictness = parts.policy.strictness(None, caller) or "auto"
    return json_response(answer(values.get("model", MODELS[0]), verdicts, strictness))


async def _judged(
    inputs: list[Input], body: Sent, services: Services, caller: str
) -> list[Verdict]:
    policy = services.policy
    for each in inputs:
        if each.pictures and not policy.seen:
            raise no_pictures(each)
    found = iter(await policy.judged([text for each in inputs for text in each.texts]))
    verdicts = []
    for each in inputs:
        texts = [next(found) for _ in each.texts]
        pictures = await view(each.pictures, body.opened, services, caller)
        findings = together([*texts, *await policy.looked_at(pictures)])
        looked_for = policy.seen if pictures else frozenset()
        verdicts.append(Verdict(findings, bool(texts), looked_for))
    return verdicts
