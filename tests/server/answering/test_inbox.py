"""Bodies in JSON with pictures in them: which of their data URLs become files."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request

from server.answering.inbox import read_edit, read_moderation
from server.reading.spool import Scratch, Sent
from server.reading.uploads import Upload

DATA = "data:image/png;base64,AAAA"
BODY = {
    "images": [{"image_url": DATA}],
    "mask": {"image_url": DATA},
    "input": [{"type": "image_url", "image_url": {"url": DATA}}],
}

Read = Callable[[Request, Any], Awaitable[Sent]]


def opened(read: Read, folder: Path) -> set[str]:
    """The parameters whose data URL has become a file."""

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": json.dumps(BODY).encode()}

    async def story() -> set[str]:
        headers = [(b"content-type", b"application/json")]
        request = Request({"type": "http", "headers": headers}, receive)
        with ThreadPoolExecutor(1) as threads:
            services = SimpleNamespace(scratch=Scratch(folder, threads))
            with await read(request, services) as sent:
                its: Any = sent.parameters
                urls = {
                    "images": its["images"][0]["image_url"],
                    "mask": its["mask"]["image_url"],
                    "input": its["input"][0]["image_url"]["url"],
                }
        return {name for name, url in urls.items() if isinstance(url, Upload)}

    return asyncio.run(story())


async def _edit(request: Request, services: Any) -> Sent:
    _, sent = await read_edit(request, services)
    return sent


@pytest.mark.parametrize(
    ("read", "names"), [(_edit, {"images", "mask"}), (read_moderation, {"input"})]
)
def test_only_what_an_endpoint_takes_is_opened(tmp_path: Path, read: Read, names: set[str]) -> None:
    assert opened(read, tmp_path) == names
