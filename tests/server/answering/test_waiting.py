import asyncio
from typing import Any

import pytest

from server.answering.waiting import all_or_none
from server.errors import ClientDisconnected


class Connection:
    """What `receive` says of a client that stays, until it leaves."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}


def futures(n: int) -> list[asyncio.Future[int]]:
    return [asyncio.get_running_loop().create_future() for _ in range(n)]


async def double(index: int, value: int) -> int:
    return value * 2


def test_results_keep_their_order() -> None:
    async def main() -> None:
        waiting = futures(3)
        for index in (2, 0, 1):
            waiting[index].set_result(index)
        assert await all_or_none(waiting, double, Connection().receive) == [0, 2, 4]

    asyncio.run(main())


def test_a_result_is_finished_while_others_are_awaited() -> None:
    async def main() -> None:
        waiting, finished = futures(2), asyncio.Event()

        async def finish(index: int, value: int) -> None:
            finished.set()

        task = asyncio.create_task(all_or_none(waiting, finish, Connection().receive))
        waiting[1].set_result(1)
        await asyncio.wait_for(finished.wait(), 30)
        waiting[0].set_result(1)
        await task

    asyncio.run(main())


@pytest.mark.parametrize("at_once", [True, False])
def test_a_client_that_leaves_cancels_everything(at_once: bool) -> None:
    async def main() -> None:
        waiting, connection = futures(3), Connection()
        waiting[0].set_result(1)
        if at_once:
            connection.left.set()
        task = asyncio.create_task(all_or_none(waiting, double, connection.receive))
        await asyncio.sleep(0.01)
        connection.left.set()
        with pytest.raises(ClientDisconnected):
            await task
        assert [future.cancelled() for future in waiting] == [False, True, True]

    asyncio.run(main())


def test_a_client_that_leaves_while_results_are_finished() -> None:
    async def main() -> None:
        waiting, connection, stopped = futures(1), Connection(), []
        waiting[0].set_result(1)

        async def finish(index: int, value: int) -> None:
            try:
                await asyncio.sleep(60)
            finally:
                stopped.append(index)

        task = asyncio.create_task(all_or_none(waiting, finish, connection.receive))
        await asyncio.sleep(0.01)
        connection.left.set()
        with pytest.raises(ClientDisconnected):
            await asyncio.wait_for(task, 30)
        assert stopped == [0]

    asyncio.run(main())


def test_the_first_failure_cancels_the_rest() -> None:
    async def main() -> None:
        waiting = futures(3)
        waiting[1].set_exception(RuntimeError("no"))
        with pytest.raises(RuntimeError, match="no"):
            await all_or_none(waiting, double, Connection().receive)
        assert [future.cancelled() for future in waiting] == [True, False, True]

    asyncio.run(main())


def test_a_failure_to_finish_cancels_the_rest() -> None:
    async def main() -> None:
        waiting = futures(2)
        waiting[0].set_result(1)

        async def finish(index: int, value: int) -> None:
            raise OSError("disk full")

        with pytest.raises(OSError, match="disk full"):
            await all_or_none(waiting, finish, Connection().receive)
        assert waiting[1].cancelled()

    asyncio.run(main())


def test_after_a_failure_nothing_is_finished_any_more() -> None:
    async def main() -> None:
        waiting, finished = futures(2), []
        waiting[0].set_result(0)

        async def finish(index: int, value: int) -> None:
            await asyncio.sleep(0.01)
            finished.append(index)

        task = asyncio.create_task(all_or_none(waiting, finish, Connection().receive))
        await asyncio.sleep(0)
        waiting[1].set_exception(RuntimeError("no"))
        with pytest.raises(RuntimeError, match="no"):
            await task
        await asyncio.sleep(0.02)
        assert finished == []

    asyncio.run(main())


@pytest.mark.parametrize("turns", [0, 1, 5])
def test_cancellation_cancels_everything(turns: int) -> None:
    async def main() -> None:
        waiting = futures(2)
        task = asyncio.create_task(all_or_none(waiting, double, Connection().receive))
        await asyncio.sleep(0)  # it has begun
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert all(future.cancelled() for future in waiting)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
