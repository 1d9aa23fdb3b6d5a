"""`GET /v1/models` and `GET /v1/models/{id}`: the names that may be sent as `model`."""

from fastapi import APIRouter, Depends, Response

from server.errors import ModelNotFound
from server.responses import json_response
from server.services import Parts, caller_of

router = APIRouter(prefix="/v1/models", dependencies=[Depends(caller_of)])


@router.get("")
async def list_models(parts: Parts) -> Response:
    """Every name of weights.yaml."""
    data = [_model(name, parts.started) for name in parts.registry.names]
    return json_response({"object": "list", "data": data})


@router.get("/{name:path}")
async def retrieve_model(name: str, parts: Parts) -> Response:
    """One of the names."""
    if not parts.registry.preferences(name):
        raise ModelNotFound(f"The model '{name}' does not exist", "model")
    return json_response(_model(name, parts.started))


def _model(name: str, created: int) -> dict[str, object]:
    return {"id": name, "object": "model", "created": created, "owned_by": "darkroom"}
