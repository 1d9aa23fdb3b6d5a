"""`POST /v1/moderations`: what the content policy finds in texts."""

from fastapi import APIRouter, Request, Response

from server.handover.responses import json_response
from server.prompts.moderations import BODY, MODELS, REQUIRED, answer
from server.prompts.policy import together
from server.reading.body import read_json
from server.reading.kinds import read_table
from server.services import Caller, Parts

router = APIRouter()


@router.post("/v1/moderations")
async def moderate(request: Request, parts: Parts, caller: Caller) -> Response:
    """Judge texts as the prompts of this caller are judged, or would be if they were."""
    body = await read_json(request)
    sent = {name: value for name, value in body.items() if value is not None}
    values = read_table(BODY, sent, REQUIRED)
    inputs = values["input"]
    found = iter(await parts.policy.judged([text for each in inputs for text in each]))
    strictness = parts.policy.strictness(None, caller) or "auto"
    results = [together(next(found) for _ in each) for each in inputs]
    return json_response(answer(values.get("model", MODELS[0]), results, strictness))
