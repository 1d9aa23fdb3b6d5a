"""Jobs -> a stream of events: each image's previews, then the image, as soon as there is something.

Every image has a task of its own that encodes its pictures and sends them in their order: so a slow
reader holds up no more than a frame of each image, and `previews`, which is bounded. Knows futures
and the connection; what a frame looks like is known to `events`.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from typing import TypeVar

from pybase64 import b64encode_as_string
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pipelines.core import Image, Job, JobCancelled, Preview
from server.answering import accounts
from server.answering.handlers import record
from server.answering.waiting import together
from server.errors import ClientDisconnected, Draining
from server.handover import events
from server.handover.encode import encode, texts_of
from server.handover.previews import Previews
from server.handover.responses import Result
from server.handover.wire import Wire
from server.prompts.policy import told_as
from server.reading.contract import ImageRequest

T = TypeVar("T")

_HEADERS = {
    "content-type": "text/event-stream",
    "cache-control": "no-store",
    "x-accel-buffering": "no",  # nginx would keep events back until its buffer is full
}


class EventStream(Response):
    """The answer to a request that asked for a stream; its jobs are accepted when it is made."""

    def __init__(
        self, request: Request, wanted: ImageRequest, jobs: list[Job], threads: Executor
    ) -> None:
        """Raises what `accounts.submit` raises: until here, an error is an ordinary answer."""
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._request, self._wanted, self._jobs, self._threads = request, wanted, jobs, threads
        self._previews = Previews()
        self._index = {job.id: index for index, job in enumerate(jobs)}
        self._answered: set[str] = set()
        self._news = [asyncio.Event() for _ in jobs]
        self._futures = accounts.submit(request, jobs, self._show)
        for index, future in enumerate(self._futures):
            future.add_done_callback(partial(self._ended, index))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Headers at once, then events, until all images are sent, one fails, or nobody reads."""
        try:
            with suppress(ClientDisconnected):
                await self._run(Wire(send), receive)
        finally:
            for future in self._futures:
                future.cancel()
            unanswered = zip(self._jobs, self._futures, strict=True)
            accounts.unanswered(
                self._request, (it for it in unanswered if it[0].id not in self._answered)
            )

    async def _run(self, wire: Wire, receive: Receive) -> None:
        try:
            async with wire.kept_open():
                await wire.start(self.status_code, self.raw_headers)
                work = (self._image(index, wire) for index in range(len(self._jobs)))
                with told_as(self._wanted.profile):
                    await together(work, self._futures, receive)
            await wire.write(b"", last=True)
        except ClientDisconnected:
            raise
        except asyncio.CancelledError:
            await wire.write(events.failed(Draining()), last=True)
            raise
        except Exception as error:
            record(self._request, error)
            await wire.write(events.failed(error), last=True)

    def _show(self, job: Job, preview: Preview) -> None:
        index = self._index[job.id]
        self._previews.add(index, preview)
        self._news[index].set()

    def _ended(self, index: int, future: asyncio.Future[Image]) -> None:
        self._news[index].set()

    async def _image(self, index: int, wire: Wire) -> None:
        """Send what comes of one image, in its order."""
        future, news = self._futures[index], self._news[index]
        over = False
        while not over:
            await news.wait()
            news.clear()
            over = future.done()
            while preview := self._previews.take(index):
                await wire.write(await self._off_the_loop(self._preview, index, preview))
        if future.cancelled():
            raise JobCancelled
        await wire.write(await self._off_the_loop(self._completed, index, future.result()))

    async def _off_the_loop(self, frame: Callable[[int, T], bytes], index: int, what: T) -> bytes:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, frame, index, what)

    def _preview(self, index: int, preview: Preview) -> bytes:
        file, now = self._file(index, preview.image), int(time.time())
        return events.partial_image(self._wanted, index, preview.index, file, now)

    def _completed(self, index: int, image: Image) -> bytes:
        job = self._jobs[index]
        self._answered.add(job.id)  # it comes into the books, even if its reader leaves meanwhile
        file, now = self._file(index, image), int(time.time())
        result = Result(job.seed, job.prompt, b64_json=b64encode_as_string(file))
        frame = events.completed(self._wanted, index, result, now, image.unread)
        accounts.answered(self._request, self._wanted, [(job, image)])
        return frame

    def _file(self, index: int, image: Image) -> bytes:
        return encode(image, self._wanted.delivery, texts_of(self._jobs[index]))
