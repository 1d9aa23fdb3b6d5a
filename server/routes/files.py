"""`/v1/files` with the purpose `vision`: pictures sent ahead, to be pointed to by `file_id`."""

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse

from server.answering import headers
from server.answering.inbox import read_one_file
from server.handover.responses import json_response
from server.keeping.files import Stored
from server.reading.endpoints import FILES, FILES_REQUIRED
from server.reading.kinds import read_table
from server.reading.uploads import check_type
from server.services import Caller, Parts

router = APIRouter(prefix="/v1/files")


@router.post("")
async def create_file(request: Request, parts: Parts, caller: Caller) -> Response:
    """Keep a picture for an hour."""
    with await read_one_file(request, parts, "file") as sent:
        given = {name: value for name, value in sent.parameters.items() if value is not None}
        values = read_table(FILES, given, FILES_REQUIRED)
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
async def list_files(parts: Parts, caller: Caller) -> Response:
    """The caller's files, the newest first."""
    files = await run_in_threadpool(parts.files.list, caller.name)
    return json_response({"object": "list", "data": [_described(it) for it in files]})


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


def _described(stored: Stored) -> dict[str, object]:
    return {
        "id": stored.id,
        "object": "file",
        "bytes": stored.bytes,
        "created_at": stored.created_at,
        "expires_at": stored.expires_at,
        "filename": stored.filename,
        "purpose": "vision",
        "status": "processed",
    }
