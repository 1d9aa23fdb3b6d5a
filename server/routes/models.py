"""`GET /v1/models` and `GET /v1/models/{id}`: the names that may be sent as `model`."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from server.answering import headers
from server.callers.pagination import MAX_LIMIT, MODELS_QUERY, cursor_page, ids_after
from server.callers.queries import read_query
from server.errors import ModelNotFound
from server.handover.responses import json_response
from server.reading.contract import no_such_model
from server.services import Parts, Services, caller_of

router = APIRouter(prefix="/v1/models", dependencies=[Depends(caller_of)])


@router.get("")
async def list_models(request: Request, parts: Parts) -> Response:
    """Every name of weights.yaml, in its order."""
    values = read_query(request.query_params, MODELS_QUERY)
    names = ids_after(parts.registry.names, values.get("after"), values.get("order", "asc"))
    data = await run_in_threadpool(_models, names, parts)
    return json_response(cursor_page(data, values.get("limit", MAX_LIMIT)))


@router.get("/{name:path}")
async def retrieve_model(name: str, parts: Parts) -> Response:
    """One of the names, or one that stands for it."""
    known = parts.registry.known_name(name, parts.config.strict)
    if known is None:
        raise ModelNotFound(no_such_model(name, parts.registry), "model")
    (model,) = await run_in_threadpool(_models, [known], parts)
    response = json_response(model | {"id": name})
    if known != name:
        response.headers[headers.SERVED_AS] = known
    return response


def _models(names: Sequence[str], parts: Services) -> list[dict[str, Any]]:
    """What is told of names; where there are LoRAs for the model that serves one, they too."""
    loras = parts.registry.loras.by_base()
    told = []
    for name in names:
        about = {"id": name, "object": "model", "created": parts.started, "owned_by": "darkroom"}
        mine = loras.get(parts.registry.resolve(name) or "")
        told.append(about | ({"loras": mine} if mine else {}))
    return told
