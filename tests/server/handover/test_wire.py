import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from server.errors import ClientDisconnected
from server.handover import wire
from server.handover.events import COMMENT
from server.handover.wire import Wire


class Client:
    """Keeps what it is sent; reads only while it is willing."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.willing = asyncio.Event()
        self.willing.set()

    async def send(self, message: MutableMapping[str, Any]) -> None:
        await self.willing.wait()
        self.got.append(message.get("body", b"<headers>"))


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "COMMENT_EVERY_S", 0.01)


def test_comments_while_nothing_else_is_sent() -> None:
    async def main() -> None:
        client = Client()
        out = Wire(client.send)
        await out.start(200, [])
        async with out.kept_open():
            while client.got.count(COMMENT) < 3:
                await asyncio.sleep(0.001)
        so_far = len(client.got)
        await asyncio.sleep(0.03)
        assert client.got == [b"<headers>", *[COMMENT] * (so_far - 1)]

    asyncio.run(main())


def test_no_comments_pile_up_before_a_reader_who_does_not_read() -> None:
    async def main() -> None:
        client = Client()
        out = Wire(client.send)
        async with out.kept_open():
            client.willing.clear()
            writing = asyncio.create_task(out.write(b"frame"))
            await asyncio.sleep(0.05)
            client.willing.set()
            await writing
            assert client.got == [b"frame"]

    asyncio.run(main())


def test_frames_go_out_whole_and_one_after_the_other() -> None:
    async def main() -> None:
        client = Client()
        out = Wire(client.send)
        await asyncio.gather(*(out.write(frame) for frame in (b"a", b"b", b"c")))
        assert client.got == [b"a", b"b", b"c"]

    asyncio.run(main())


def test_a_client_that_is_gone() -> None:
    async def refuse(message: MutableMapping[str, Any]) -> None:
        raise OSError("gone")

    async def main() -> None:
        with pytest.raises(ClientDisconnected):
            await Wire(refuse).write(b"frame")
        async with Wire(refuse).kept_open():
            await asyncio.sleep(0.03)  # its comment fails, and nobody minds

    asyncio.run(main())
