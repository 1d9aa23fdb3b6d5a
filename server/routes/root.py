"""`GET /`, `/v1`, `/docs`, `/favicon.ico`: what there is, for people who open the address."""

from importlib.metadata import PackageNotFoundError, version

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse

from server.document.page import ICON, rendered
from server.handover.responses import json_response

router = APIRouter()

_DAY_S = 86_400
_PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'"


@router.get("/")
async def root() -> Response:
    """Tell what this server is and where the rest is."""
    return json_response(_index())


@router.get("/v1")
async def api() -> Response:
    """The same, at the base URL that clients are given."""
    return json_response(_index())


@router.get("/docs")
async def docs() -> Response:
    """Every operation, as a page that loads nothing from elsewhere."""
    return HTMLResponse(rendered(), headers={"content-security-policy": _PAGE_POLICY})


@router.get("/favicon.ico")
async def favicon() -> Response:
    """The icon that browsers ask for."""
    headers = {"cache-control": f"public, max-age={_DAY_S}"}
    return Response(ICON, media_type="image/svg+xml", headers=headers)


def _index() -> dict[str, str]:
    return {
        "name": "darkroom",
        "version": _version(),
        "base_url": "/v1",
        "models": "/v1/models",
        "docs": "/docs",
        "openapi": "/openapi.json",
        "ready": "/readyz",
    }


def _version() -> str:
    try:
        return version("darkroom")
    except PackageNotFoundError:
        return "unknown"
