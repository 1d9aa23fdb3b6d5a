"""The limits and the rights of keys, through the routes."""

import asyncio
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from PIL import Image as Picture
from starlette.testclient import TestClient

from pipelines.core import JobFailed
from pipelines.registry import Registry
from server.app import create_app
from server.callers.callers import Caller
from server.callers.keys import FILE, KeyStore
from server.config import Config
from server.errors import QueueFull
from tests.server.checks import assert_error_shape
from tests.server.fakes import FakeFleet
from tests.server.sockets import serving, wait_for

BODY = {"model": "flux-schnell", "prompt": "a", "size": "64x64"}
Ask = Callable[..., httpx.Response]


@pytest.fixture
def file(tmp_path: Path, config: Config) -> Config:
    (tmp_path / "keys").write_text(
        "minute:sk-minute images-per-minute=20\n"
        "queue:sk-queue in-queue=2\n"
        "poor:sk-poor weight=0.5 priority=low\n"
    )
    return replace(config, api_keys=tmp_path / "keys")


@pytest.fixture
def server(file: Config, registry: Registry, fleet: FakeFleet) -> Iterator[TestClient]:
    with TestClient(create_app(file, registry, fleet)) as client:  # type: ignore[arg-type]
        yield client


@pytest.fixture
def ask(server: TestClient) -> Ask:
    def post(key: str, **parameters: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer sk-{key}"}
        return server.post("/v1/images/generations", json={**BODY, **parameters}, headers=headers)

    return post


def test_jobs_carry_what_their_key_is_worth(ask: Ask, fleet: FakeFleet) -> None:
    ask("poor")
    (job,) = fleet.jobs
    assert (job.caller, job.weight, job.priority) == ("poor", 0.5, "low")


def test_beyond_the_minutes_images_there_are_no_jobs(ask: Ask, fleet: FakeFleet) -> None:
    for _ in range(2):
        assert ask("minute", n=10).status_code == 200
    response = ask("minute", n=10)
    error = assert_error_shape(response)
    assert (response.status_code, error["type"], error["code"]) == (
        *(429, "requests", "rate_limit_exceeded"),
    )
    assert error["message"].startswith("Rate limit reached for flux-schnell on images per min: ")
    assert 1 <= int(response.headers["retry-after"]) <= 33
    assert response.headers["x-ratelimit-limit-images"] == "20"
    assert "x-should-retry" not in response.headers
    assert len(fleet.jobs) == 20
    assert ask("poor").status_code == 200


def test_more_at_once_than_there_can_ever_be_is_not_put_off(ask: Ask, fleet: FakeFleet) -> None:
    response = ask("queue", n=3)
    assert (response.status_code, assert_error_shape(response)["param"]) == (400, "n")
    assert response.headers["x-should-retry"] == "false"
    assert fleet.jobs == []


@pytest.mark.parametrize("full", [False, True], ids=["the key's limit", "a full queue"])
def test_edits_are_refused_before_their_pictures_are_looked_at(
    server: TestClient, ask: Ask, fleet: FakeFleet, full: bool
) -> None:
    for _ in range(1 if full else 2):
        ask("minute", n=10)
    before = len(fleet.jobs)
    fleet.room = 0 if full else None
    file = io.BytesIO()
    Picture.new("RGB", (64, 64)).save(file, "png")
    broken = {"image": ("a.png", file.getvalue()[:50], "image/png")}
    headers = {"authorization": "Bearer sk-minute"}
    for path in ("edits", "variations"):
        data = {"model": "flux-schnell", "n": "10"} | ({"prompt": "a"} if path == "edits" else {})
        response = server.post(f"/v1/images/{path}", data=data, files=broken, headers=headers)
        assert response.status_code == 429, response.text
    assert len(fleet.jobs) == before


def test_what_is_refused_uses_nothing_up(ask: Ask, fleet: FakeFleet) -> None:
    fleet.room = 0
    for _ in range(70):
        assert ask("minute").status_code == 429  # the queue is full
        assert ask("queue", n=2).status_code == 429
        assert ask("minute", prompt="").status_code == 400
    fleet.room = None
    for _ in range(2):
        assert ask("minute", n=10).status_code == 200
    assert ask("queue", n=2).status_code == 200


@pytest.mark.parametrize("stream", [True, False])
def test_what_fails_leaves_the_queue(ask: Ask, fleet: FakeFleet, stream: bool) -> None:
    fleet.outcome = lambda job: JobFailed("boom")
    for _ in range(5):
        assert "server_error" in ask("queue", n=2, stream=stream).text
    fleet.outcome = FakeFleet().outcome
    assert ask("queue", n=2, stream=stream).status_code == 200


@pytest.mark.parametrize("stream", [True, False])
def test_whoever_goes_away_takes_its_images_out_of_the_queue(
    file: Config, registry: Registry, fleet: FakeFleet, stream: bool
) -> None:
    fleet.delay_s = None
    headers = {"authorization": "Bearer sk-queue"}

    async def leave(url: str) -> None:
        async with httpx.AsyncClient(trust_env=False, headers=headers) as client:
            body = {**BODY, "n": 2, "stream": stream}
            work = asyncio.create_task(client.post(url, json=body))
            while not len(fleet.jobs):
                await asyncio.sleep(0.005)
            refused = await client.post(url, json=BODY)
            assert refused.status_code == 429
            assert "on images in queue: Limit 2, Used 2, Requested 1." in refused.text
            work.cancel()

    with serving(replace(file, port=0), registry, fleet) as where:
        url = f"{where}/v1/images/generations"
        asyncio.run(leave(url))
        wait_for(lambda: all(future.done() for future in fleet.futures))
        fleet.delay_s = 0
        with httpx.Client(trust_env=False, headers=headers) as client:
            assert client.post(url, json={**BODY, "n": 2}).status_code == 200


def test_the_official_client_comes_back_when_it_is_told_to(
    file: Config, registry: Registry, fleet: FakeFleet
) -> None:
    with serving(replace(file, port=0), registry, fleet) as where:
        seen: list[int] = []
        hooks = {"response": [lambda response: seen.append(response.status_code)]}
        http = httpx.Client(trust_env=False, event_hooks=hooks)
        client = openai.OpenAI(
            base_url=f"{where}/v1", api_key="sk-minute", http_client=http, max_retries=1
        )
        for _ in range(2):
            client.images.generate(**BODY, n=10)  # type: ignore[call-overload]
        client.images.generate(**BODY, n=1)  # type: ignore[call-overload]
        assert seen == [200, 200, 429, 200]
        impatient = client.with_options(max_retries=0)
        with pytest.raises(openai.RateLimitError) as caught:
            impatient.images.generate(**BODY, n=10)  # type: ignore[call-overload]
        assert caught.value.code == "rate_limit_exceeded"
    assert len(fleet.jobs) == 21


def test_keys_come_and_go_while_the_server_runs(
    config: Config, registry: Registry, fleet: FakeFleet
) -> None:
    with serving(replace(config, port=0), registry, fleet) as where:
        store = KeyStore(config.data_dir / FILE)  # as `darkroom keys` opens it, elsewhere

        def status(key: str) -> int:
            headers = {"authorization": f"Bearer {key}"}
            return httpx.get(f"{where}/v1/models", headers=headers, trust_env=False).status_code

        assert status("anything") == 200
        alice = store.add(Caller("alice"), None, time.time())
        assert (status("anything"), status(alice)) == (401, 200)
        bob = store.add(Caller("bob"), None, time.time())
        assert (status(alice), status(bob)) == (200, 200)
        store.revoke("alice", time.time())
        assert (status(alice), status(bob)) == (401, 200)


def test_a_full_queue_is_told_as_before(ask: Ask, fleet: FakeFleet) -> None:
    fleet.room = 0
    assert assert_error_shape(ask("poor"))["message"] == QueueFull(7.2).message
