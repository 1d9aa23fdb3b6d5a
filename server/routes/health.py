"""What a load balancer and an operator ask: alive, ready, and how it goes."""

from dataclasses import asdict, replace

from fastapi import APIRouter, Response

from server.handover.responses import json_response
from server.services import Caller, Parts

router = APIRouter()


@router.get("/healthz")
async def healthz() -> Response:
    """The server lives."""
    return json_response({"status": "ok"})


@router.get("/readyz")
async def readyz(parts: Parts) -> Response:
    """Every device has loaded what it should at start; until then 503, and how far it is."""
    now = parts.fleet.status()
    devices = [
        {"id": device.id, "state": device.state, "loading": [asdict(it) for it in device.loading]}
        for device in now.devices
    ]
    return json_response({"ready": now.ready, "devices": devices}, 200 if now.ready else 503)


@router.get("/status")
async def status(parts: Parts, caller: Caller) -> Response:
    """Every device and the queue, as they are now."""
    policy = asdict(parts.policy.status())
    now = replace(parts.fleet.status(), aide=parts.aide.status() if parts.aide else None)
    return json_response(asdict(now) | {"policy": policy})
