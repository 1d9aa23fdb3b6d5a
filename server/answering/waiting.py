"""Waiting for the work of one request: all of it or none, and only while somebody waits.

Knows futures and the connection; not what an image is.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from starlette.types import Receive

from server.errors import ClientDisconnected

T = TypeVar("T")
R = TypeVar("R")


async def all_or_none(
    futures: Sequence[asyncio.Future[T]],
    finish: Callable[[int, T], Awaitable[R]],
    receive: Receive,
) -> list[R]:
    """What `finish` makes of each future's result, in their order; otherwise as `together`."""

    async def one(index: int, future: asyncio.Future[T]) -> R:
        return await finish(index, await future)

    return await together((one(*each) for each in enumerate(futures)), futures, receive)


async def together(
    work: Iterable[Awaitable[R]], futures: Sequence[asyncio.Future[T]], receive: Receive
) -> list[R]:
    """The results of work that waits for `futures`.

    The first failure, a client that went away, and cancellation all cancel every future that is not
    done, and the work; none of it goes on once this has ended.
    """
    tasks = [asyncio.ensure_future(each) for each in work]
    everything = asyncio.gather(*tasks)
    gone = asyncio.ensure_future(_disconnection(receive))
    try:
        await asyncio.wait((everything, gone), return_when=asyncio.FIRST_COMPLETED)
        if not everything.done():
            raise ClientDisconnected
        return everything.result()
    finally:
        for future in futures:
            future.cancel()
        for task in (*tasks, gone):
            task.cancel()
        await asyncio.gather(everything, *tasks, gone, return_exceptions=True)


async def _disconnection(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
