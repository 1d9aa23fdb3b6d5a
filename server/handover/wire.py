"""The sending side of an event stream: headers at once, then one whole frame after another.

Knows ASGI; not what the frames say.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.types import Message, Send

from server.errors import ClientDisconnected
from server.handover.events import COMMENT

COMMENT_EVERY_S = 15
"""Shorter than any proxy's limit for idle connections."""


class Wire:
    """What can be written to; raises ClientDisconnected where that can be told."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._turn = asyncio.Lock()

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the headers."""
        await self._pass({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, frame: bytes, last: bool = False) -> None:
        """Send a frame after those that are being sent; waits for a slow reader."""
        async with self._turn:
            body = {"type": "http.response.body", "body": frame, "more_body": not last}
            await self._pass(body)

    @asynccontextmanager
    async def kept_open(self) -> AsyncIterator[None]:
        """Meanwhile, comments are sent while nothing else is."""
        comments = asyncio.create_task(self._comment())
        try:
            yield
        finally:
            comments.cancel()
            with suppress(asyncio.CancelledError, ClientDisconnected):
                await comments

    async def _comment(self) -> None:
        while True:
            await asyncio.sleep(COMMENT_EVERY_S)
            if not self._turn.locked():
                await self.write(COMMENT)

    async def _pass(self, message: Message) -> None:
        try:
            await self._send(message)
        except OSError as error:  # the sign of a client that is gone, from ASGI 2.4 on
            raise ClientDisconnected from error
