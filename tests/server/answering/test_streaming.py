"""The stream itself, driven frame by frame: what is sent, to whom, and how it ends."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import pytest
from fastapi import FastAPI

from pipelines.core import Image, Job, JobFailed
from pipelines.registry import Registry
from server.app import create_app
from server.config import Config
from server.handover import wire
from tests.server.checks import events_of
from tests.server.fakes import FakeFleet, picture, preview

BODY = b'{"prompt":"a","model":"flux-schnell","size":"64x64","stream":true,"partial_images":3%s}'


class Client:
    """One request, as an ASGI server would put it; reads frames only while it is willing."""

    def __init__(self, app: FastAPI, more: bytes = b"") -> None:
        self.app = app
        self.requests = [{"type": "http.request", "body": BODY % more, "more_body": False}]
        self.left = asyncio.Event()
        self.willing = asyncio.Event()
        self.willing.set()
        self.messages: list[MutableMapping[str, Any]] = []

    async def run(self) -> None:
        path = "/v1/images/generations"
        headers = [(b"content-type", b"application/json"), (b"host", b"x")]
        scope = {
            "type": "http", "method": "POST", "path": path, "raw_path": path.encode(),
            "query_string": b"", "headers": headers, "scheme": "http", "server": ("x", 80),
            "root_path": "", "http_version": "1.1", "state": {},
        }  # fmt: skip
        await self.app(scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        if self.requests:
            return self.requests.pop()
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        await self.willing.wait()
        self.messages.append(message)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.001)

    @property
    def events(self) -> list[tuple[str, dict[str, Any]]]:
        frames = b"".join(message.get("body", b"") for message in self.messages[1:])
        return events_of(frames.decode()) if frames else []

    @property
    def names(self) -> list[str]:
        return [name.partition(".")[2] or name for name, _ in self.events]

    @property
    def ended(self) -> bool:
        return bool(self.messages) and self.messages[-1].get("more_body") is False


@pytest.fixture
def drive(config: Config, registry: Registry, fleet: FakeFleet) -> Any:
    app = create_app(config, registry, fleet)  # type: ignore[arg-type]

    def drive(story: Callable[[Client], Awaitable[None]], more: bytes = b"") -> Client:
        async def main() -> Client:
            client = Client(app, more)
            await story(client)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, "something still runs"
            return client

        return asyncio.run(main())

    return drive


async def to_the_end(client: Client) -> None:
    await asyncio.wait_for(client.run(), 60)


def shown(fleet: FakeFleet, index: int, job: Job | None = None) -> None:
    """Have the fleet show a preview now."""
    job = job or fleet.jobs[0]
    assert fleet.show is not None
    fleet.show(job, preview(job, index))


def test_previews_then_the_image_then_the_end(drive: Any) -> None:
    client = drive(to_the_end)
    assert client.names == ["partial_image"] * 3 + ["completed"]
    assert [data["partial_image_index"] for _, data in client.events[:3]] == [0, 1, 2]
    assert client.ended


def test_headers_come_before_anything_is_there(drive: Any, fleet: FakeFleet) -> None:
    fleet.delay_s = None

    async def story(client: Client) -> None:
        running = asyncio.create_task(client.run())
        await client.until(lambda: bool(client.messages))
        assert client.messages[0]["type"] == "http.response.start"
        assert client.events == []
        shown(fleet, 0)
        await client.until(lambda: client.names == ["partial_image"])
        fleet.futures[0].set_result(picture(fleet.jobs[0]))
        await running

    assert drive(story).names == ["partial_image", "completed"]


def test_a_preview_shown_again_by_a_second_run_is_not_sent_again(
    drive: Any, fleet: FakeFleet
) -> None:
    fleet.delay_s = None

    async def story(client: Client) -> None:
        running = asyncio.create_task(client.run())
        await client.until(lambda: bool(fleet.jobs))
        for index in (0, 1):
            shown(fleet, index)
        await client.until(lambda: len(client.names) == 2)
        for index in (0, 1, 2):
            shown(fleet, index)
        fleet.futures[0].set_result(picture(fleet.jobs[0]))
        await running

    client = drive(story)
    parts = [data["partial_image_index"] for _, data in client.events[:-1]]
    assert parts == [0, 1, 2]


def test_a_preview_that_comes_too_late_is_not_sent(drive: Any, fleet: FakeFleet) -> None:
    async def story(client: Client) -> None:
        await client.run()
        shown(fleet, 2)
        await asyncio.sleep(0.01)

    assert drive(story).names[-1] == "completed"


def test_a_client_that_leaves_cancels_every_job(drive: Any, fleet: FakeFleet) -> None:
    fleet.delay_s = None

    async def story(client: Client) -> None:
        running = asyncio.create_task(client.run())
        await client.until(lambda: len(fleet.futures) == 3)
        fleet.futures[1].set_result(picture(fleet.jobs[1]))
        await client.until(lambda: client.names == ["completed"])
        client.left.set()
        await asyncio.wait_for(running, 30)
        assert [future.cancelled() for future in fleet.futures] == [True, False, True]

    assert not drive(story, more=b',"n":3').ended


def test_a_client_that_leaves_without_reading(drive: Any, fleet: FakeFleet) -> None:
    async def story(client: Client) -> None:
        client.willing.clear()
        running = asyncio.create_task(client.run())
        await client.until(lambda: len(fleet.futures) == 2)
        client.left.set()
        client.willing.set()
        await asyncio.wait_for(running, 30)
        assert all(future.done() for future in fleet.futures)

    drive(story, more=b',"n":2')


def test_when_one_image_fails_the_stream_ends_with_the_error(drive: Any, fleet: FakeFleet) -> None:
    fleet.delay_s = None

    async def story(client: Client) -> None:
        running = asyncio.create_task(client.run())
        await client.until(lambda: len(fleet.futures) == 3)
        fleet.futures[2].set_result(picture(fleet.jobs[2]))
        await client.until(lambda: client.names == ["completed"])
        fleet.futures[0].set_exception(JobFailed("CUDA at /root"))
        await running
        assert fleet.futures[1].cancelled()

    client = drive(story, more=b',"n":3')
    assert client.names == ["completed", "error"]
    assert client.events[0][1]["index"] == 2
    assert client.events[1][1]["error"]["type"] == "server_error"
    assert client.ended


def test_nothing_follows_an_error(drive: Any, fleet: FakeFleet) -> None:
    """Neither what is being encoded at that moment nor what waits for a slow reader."""
    fleet.delay_s = None

    async def story(client: Client) -> None:
        running = asyncio.create_task(client.run())
        await client.until(lambda: len(client.messages) == 1 and len(fleet.futures) == 3)
        client.willing.clear()
        fleet.futures[1].set_result(picture(fleet.jobs[1]))
        await asyncio.sleep(0.05)  # encoded, and it waits for the reader
        fleet.futures[2].set_result(picture(fleet.jobs[2]))
        fleet.futures[0].set_exception(JobFailed("no"))
        await asyncio.sleep(0.05)
        client.willing.set()
        await running

    client = drive(story, more=b',"n":3')
    assert client.names[-1] == "error"
    assert client.names.count("error") == 1
    assert client.ended


@pytest.mark.parametrize("outcome", [Image(64, 64, b"short"), RuntimeError("/root/secret")])
def test_what_nobody_foresaw_is_an_error_frame_and_in_the_log(
    drive: Any, fleet: FakeFleet, caplog: pytest.LogCaptureFixture, outcome: Any
) -> None:
    fleet.outcome = lambda job: outcome
    with caplog.at_level(logging.ERROR):
        client = drive(to_the_end)
    assert client.names[-1] == "error"
    assert client.ended
    assert "secret" not in str(client.events[-1])
    request_id = dict(client.messages[0]["headers"])[b"x-request-id"].decode()
    assert request_id in caplog.text and "Traceback" in caplog.text


def test_a_job_that_somebody_cancelled(drive: Any, fleet: FakeFleet) -> None:
    fleet.delay_s = None

    async def story(client: Client) -> None:
        running = asyncio.create_task(client.run())
        await client.until(lambda: bool(fleet.futures))
        fleet.futures[0].cancel()
        await running

    (event,) = drive(story).events
    assert event[1]["error"]["code"] == "server_is_overloaded"


def test_a_request_that_is_cancelled_ends_with_an_error_frame(drive: Any, fleet: FakeFleet) -> None:
    fleet.delay_s = None

    async def story(client: Client) -> None:
        running = asyncio.create_task(client.run())
        await client.until(lambda: bool(fleet.futures) and bool(client.messages))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert fleet.futures[0].cancelled()

    client = drive(story)
    assert client.names == ["error"]
    assert client.ended


def test_a_slow_reader_gets_every_image_and_the_latest_previews(
    drive: Any, fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.delay_s = None
    pixels = 3 * 64 * 64
    monkeypatch.setattr("server.handover.previews.Previews.__init__.__defaults__", (2 * pixels,))

    async def story(client: Client) -> None:
        running = asyncio.create_task(client.run())
        await client.until(lambda: len(client.messages) == 1 and len(fleet.futures) == 4)
        client.willing.clear()
        for job in fleet.jobs:
            shown(fleet, 0, job)
        await asyncio.sleep(0.05)
        for index in (1, 2):
            for job in fleet.jobs:
                shown(fleet, index, job)
        for job, future in zip(fleet.jobs, fleet.futures, strict=True):
            future.set_result(picture(job))
        await asyncio.sleep(0.05)
        client.willing.set()
        await running

    client = drive(story, more=b',"n":4')
    assert client.names.count("completed") == 4
    parts = [
        (data["index"], data["partial_image_index"])
        for name, data in client.events
        if name.endswith("partial_image")
    ]
    for_each = [[part for owner, part in parts if owner == index] for index in range(4)]
    assert all(sequence == sorted(sequence) for sequence in for_each)
    assert len(parts) <= 4 + 2
    assert for_each[3][-1] == 2


def test_an_idle_stream_is_kept_open(
    drive: Any, fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "COMMENT_EVERY_S", 0.01)
    fleet.delay_s = 0.1
    client = drive(to_the_end)
    comments = [m for m in client.messages if m.get("body", b"").startswith(b": ")]
    assert len(comments) >= 3
    assert client.names[-1] == "completed"
