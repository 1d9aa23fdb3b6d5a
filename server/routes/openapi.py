"""`GET /openapi.json`: what there is to be asked. No key: it is no secret."""

from fastapi import APIRouter, Response

from server.document.openapi import rendered

router = APIRouter()


@router.get("/openapi.json")
async def describe() -> Response:
    """The OpenAPI document."""
    return Response(rendered(), media_type="application/json")
