"""`/v1/files` with the purpose `vision`: pictures sent ahead, to be pointed to by `file_id`."""

from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse

from server.answering import headers
from server.answering.inbox import read_one_file
from server.callers.pagination import FILES_QUERY, MAX_LIMIT, cursor_page
from server.callers.queries import read_query
from server.handover.responses import json_response
from server.keeping.files import Files, Stored
from server.reading.endpoints import FILES, FILES_REQUIRED
from server.reading.kinds import given, read_table
from server.reading.uploads import check_type
from server.services import Caller, Parts

router = APIRouter(prefix="/v1/files")

_PURPOSE = "vision"
"""Of every file."""


@router.post("")
async def create_file(request: Request, parts: Parts, caller: Caller) -> Response:
    """Keep a picture for an hour."""
    with await read_one_file(request, parts, "file") as sent:
        values = read_table(FILES, given(sent.parameters), FILES_REQUIRED)
        (upload,) = values["file"]
        stored = await run_in_threadpool(
            parts.files.save, upload.file, caller.name, upload.filename, check_type(upload)
        )
    response = json_response(_described(stored))
    ignored = [name for name in values if name.startswith("expires_after")]
    if ignored:
        response.headers[headers.IGNORED] = ",".join(ignored)
    return response


@router.get("")
async def list_files(request: Request, parts: Parts, caller: Caller) -> Response:
    """The caller's files, a page at a time, the newest first unless `order` is `asc`."""
    values = read_query(request.query_params, FILES_QUERY)
    page = await run_in_threadpool(_page, parts.files, caller.name, values)
    return json_response(page)


@router.get("/{id}")
async def retrieve_file(id: str, parts: Parts, caller: Caller) -> Response:
    """What is known of a file."""
    return json_response(_described(await run_in_threadpool(parts.files.find, id, caller.name)))


@router.get("/{id}/content")
async def retrieve_content(id: str, parts: Parts, caller: Caller) -> Response:
    """The file itself."""
    stored = await run_in_threadpool(parts.files.find, id, caller.name)
    return FileResponse(parts.files.path(stored), media_type=stored.media_type)


@router.delete("/{id}")
async def delete_file(id: str, parts: Parts, caller: Caller) -> Response:
    """Forget a file."""
    await run_in_threadpool(parts.files.delete, id, caller.name)
    return json_response({"id": id, "object": "file", "deleted": True})


def _page(files: Files, owner: str, values: dict[str, Any]) -> dict[str, Any]:
    limit = values.get("limit", MAX_LIMIT)
    found = files.list(owner, values.get("after"), values.get("order", "desc"))
    if values.get("purpose", _PURPOSE) != _PURPOSE:
        found = []
    # One more than the page holds tells whether there are more.
    return cursor_page([_described(it) for it in found[: limit + 1]], limit)


def _described(stored: Stored) -> dict[str, object]:
    return {
        "id": stored.id,
        "object": "file",
        "bytes": stored.bytes,
        "created_at": stored.created_at,
        "expires_at": stored.expires_at,
        "filename": stored.filename,
        "purpose": _PURPOSE,
        "status": "processed",
    }
