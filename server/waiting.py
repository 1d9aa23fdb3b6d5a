"""Waiting for the images of one request: all of them or none, and only while somebody waits.

Knows futures and the connection; not what an image is.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
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
    """What `finish` makes of each future's result, in their order.

    The first failure, a client that went away, and cancellation all cancel every future that is not
    done.
    """

    async def one(index: int, future: asyncio.Future[T]) -> R:
        return await finish(index, await future)

    everything = asyncio.gather(*(one(index, future) for index, future in enumerate(futures)))
    gone = asyncio.ensure_future(_disconnection(receive))
    try:
        await asyncio.wait((everything, gone), return_when=asyncio.FIRST_COMPLETED)
        if not everything.done():
            raise ClientDisconnected
        return everything.result()
    finally:
        for future in futures:
            future.cancel()
        everything.cancel()
        gone.cancel()
        await asyncio.gather(everything, gone, return_exceptions=True)


async def _disconnection(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
