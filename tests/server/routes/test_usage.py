"""`GET /v1/organization/usage/images`, and what every way of asking leaves in the ledger."""

import asyncio
import io
import json
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from PIL import Image as Picture
from starlette.testclient import TestClient
from starlette.types import Message

from pipelines.core import Image, Job, JobFailed, NonFinite
from pipelines.registry import Registry
from server.app import create_app
from server.callers.ledger import DAY_S, FILE
from server.callers.usage import totals
from server.config import Config
from tests.server.checks import assert_error_shape
from tests.server.fakes import FakeFleet, picture
from tests.server.sockets import wait_for

PATH = "/v1/organization/usage/images"
TODAY = int(time.time()) // DAY_S * DAY_S


def png() -> bytes:
    file = io.BytesIO()
    Picture.new("RGBA", (64, 64), (255, 0, 0, 0)).save(file, "png")
    return file.getvalue()


def kept(config: Config) -> list[sqlite3.Row]:
    with sqlite3.connect(config.data_dir / FILE) as database:
        database.row_factory = sqlite3.Row
        return list(database.execute("SELECT * FROM images"))


def refusals(config: Config) -> list[tuple[Any, ...]]:
    found = totals(config.data_dir / FILE, ["key", "name", "model", "error"])
    return [(*it.of, it.refusals) for it in found if it.refusals]


@pytest.fixture
def shared(
    tmp_path: Path, config: Config, registry: Registry, fleet: FakeFleet
) -> Iterator[TestClient]:
    """A server with the keys of alice, bob, and an admin."""
    (tmp_path / "keys").write_text("alice:sk-a\nbob:sk-b\nroot:sk-r admin=true\n")
    config = replace(config, api_keys=tmp_path / "keys")
    with TestClient(create_app(config, registry, fleet)) as client:  # type: ignore[arg-type]
        yield client


def asked(client: TestClient, key: str, **query: Any) -> list[dict[str, Any]]:
    """The results of today's bucket, as a key sees them."""
    response = client.get(
        PATH,
        params={"start_time": TODAY, "end_time": TODAY + DAY_S, **query},
        headers={"authorization": f"Bearer {key}"},
    )
    assert response.status_code == 200, response.text
    (bucket,) = response.json()["data"]
    results: list[dict[str, Any]] = bucket["results"]
    return results


def test_an_image_is_put_down_with_all_that_is_known_of_it(
    client: TestClient, config: Config, fleet: FakeFleet
) -> None:
    fleet.outcome = lambda job: replace(picture(job), device_seconds=1.5)
    body = {"model": "dall-e-3", "prompt": "a secret", "size": "1024x1024", "steps": 3}
    response = client.post("/v1/images/generations", json=body)
    (row,) = kept(config)
    assert row["request"] == response.headers["x-request-id"]
    assert abs(row["at"] - time.time()) < 60
    assert dict(row) == {
        "at": row["at"],
        "request": row["request"],
        "key": "",
        "source": "image.generation",
        "name": "dall-e-3",
        "model": "demo",
        "width": 1024,
        "height": 1024,
        "steps": 3,
        "device_seconds": 1.5,
        "prompt": None,
    }


def test_prompts_are_nowhere_unless_they_may_be_kept(
    config: Config, registry: Registry, fleet: FakeFleet
) -> None:
    body = {"model": "flux-schnell", "prompt": "a very secret cat", "response_format": "b64_json"}

    def files_after(config: Config) -> bytes:
        with TestClient(create_app(config, registry, fleet)) as client:  # type: ignore[arg-type]
            client.post("/v1/images/generations", json=body)
            client.post("/v1/images/generations", json={**body, "n": 99})
            return b"".join(p.read_bytes() for p in config.data_dir.rglob("*") if p.is_file())

    assert b"secret cat" not in files_after(config)
    assert b"secret cat" in files_after(replace(config, keep_prompts=True))


def test_edits_and_variations_count_the_steps_that_ran(
    client: TestClient, config: Config, fleet: FakeFleet
) -> None:
    fleet.outcome = lambda job: replace(picture(job), steps=job.steps_run + 1)
    files = {"image": ("a.png", png(), "image/png")}
    asked = {"model": "flux-schnell", "size": "64x64", "steps": "8"}
    client.post("/v1/images/edits", data={**asked, "prompt": "b", "strength": "1"}, files=files)
    client.post("/v1/images/variations", data={**asked, "strength": "0.5"}, files=files)
    found = [(row["source"], row["steps"], row["width"]) for row in kept(config)]
    assert found == [("image.edit", 9, 64), ("image.variation", 5, 64)]


@pytest.mark.parametrize(
    ("failure", "code"),
    [(JobFailed("boom"), "500"), (NonFinite("decoder", "Use float32."), "non_finite_values")],
)
def test_a_request_that_fails_leaves_no_image_and_one_refusal(
    client: TestClient, config: Config, fleet: FakeFleet, failure: JobFailed, code: str
) -> None:
    def outcome(job: Job) -> Image | Exception:
        return failure if job.id.endswith("-1") else picture(job)

    fleet.outcome = outcome
    body = {"model": "flux-schnell", "prompt": "a", "size": "64x64", "n": 3}
    assert client.post("/v1/images/generations", json=body).status_code == 500
    wait_for(lambda: refusals(config))
    assert kept(config) == []
    assert refusals(config) == [("", "flux-schnell", "demo", code, 1)]


def test_a_stream_that_fails_is_a_refusal(
    client: TestClient, config: Config, fleet: FakeFleet
) -> None:
    fleet.outcome = lambda job: JobFailed("boom")
    body = {"model": "flux-schnell", "prompt": "a", "size": "64x64", "stream": True}
    assert "event: error" in client.post("/v1/images/generations", json=body).text
    wait_for(lambda: refusals(config))
    assert kept(config) == []
    assert refusals(config) == [("", "flux-schnell", "demo", "500", 1)]


def device_seconds(config: Config) -> list[tuple[Any, ...]]:
    found = totals(config.data_dir / FILE, ["model", "name"])
    return [(*it.of, it.images, it.device_seconds) for it in found]


@pytest.mark.parametrize("stream", [True, False])
def test_images_that_nobody_got_are_device_time(
    client: TestClient, config: Config, fleet: FakeFleet, stream: bool
) -> None:
    """Of one that fails, the fleet tells the device time; the others were made, for nothing."""

    def outcome(job: Job) -> Image | Exception:
        made = replace(picture(job), device_seconds=1.5)
        return JobFailed("boom") if job.id.endswith("-2") else made

    fleet.outcome = outcome
    fleet.delay_s = 0.05
    body = {"model": "flux-schnell", "prompt": "a", "size": "64x64", "n": 3, "stream": stream}
    client.post("/v1/images/generations", json=body)
    assert fleet.spent is not None
    fleet.spent(fleet.jobs[2], 0.25)
    wait_for(lambda: device_seconds(config) == [("demo", "flux-schnell", len(kept(config)), 3.25)])
    assert stream or not kept(config)


def test_an_unforeseen_error_is_a_refusal(
    config: Config, registry: Registry, fleet: FakeFleet
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("nobody thought of this")

    fleet.submit = broken  # type: ignore[assignment, method-assign]
    app = create_app(config, registry, fleet)  # type: ignore[arg-type]
    with TestClient(app, raise_server_exceptions=False) as client:
        body = {"model": "flux-schnell", "prompt": "a", "size": "64x64"}
        assert client.post("/v1/images/generations", json=body).status_code == 500
        wait_for(lambda: refusals(config))
    assert refusals(config) == [("", "flux-schnell", "demo", "500", 1)]


@pytest.mark.parametrize("stream", [True, False])
def test_no_byte_of_an_image_leaves_before_it_is_put_down(
    config: Config, registry: Registry, fleet: FakeFleet, stream: bool
) -> None:
    """Looked at where bytes leave, through a connection of another's to the ledger."""
    body = {"model": "flux-schnell", "prompt": "a", "size": "64x64", "n": 3, "stream": stream}
    left: list[tuple[int, int]] = []
    """How many images had left, and how many were put down by then."""

    async def receive() -> Message:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": False}
        return await asyncio.Future[Message]()

    async def send(message: Message) -> None:
        before = left[-1][0] if left else 0
        now = message.get("body", b"").count(b"completed" if stream else b'"url"')
        left.append((before + now // (2 if stream else 1), len(kept(config))))

    unread = [json.dumps(body).encode()]
    asyncio.run(create_app(config, registry, fleet)(request_scope(), receive, send))  # type: ignore[arg-type]
    assert left[-1] == (3, 3)
    assert all(images <= rows for images, rows in left)


def request_scope() -> dict[str, Any]:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/images/generations",
        "raw_path": b"/v1/images/generations",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"host", b"x")],
        "server": ("x", 80),
        "client": ("x", 1),
    }


def test_refusals_are_counted_with_what_was_known_by_then(
    shared: TestClient, config: Config
) -> None:
    def post(key: str, **body: Any) -> None:
        headers = {"authorization": f"Bearer {key}"}
        assert shared.post("/v1/images/generations", json=body, headers=headers).is_error

    post("sk-wrong", prompt="a")
    post("sk-a", prompt="")
    post("sk-a", prompt="", model="nobody")
    post("sk-a", prompt="a", model="flux-schnell", n=999)
    post("sk-a", prompt="a", model="only-absent")
    shared.get("/v1/models")  # no request for images
    wait_for(lambda: len(refusals(config)) == 5)
    assert refusals(config) == [
        ("", "", "", "invalid_api_key", 1),
        ("alice", "", "", "empty_string", 1),
        ("alice", "", "", "integer_above_max_value", 1),
        ("alice", "", "", "invalid_value", 1),
        ("alice", "", "", "model_not_installed", 1),
    ]


def test_the_shape_is_that_of_the_original(client: TestClient) -> None:
    client.post("/v1/images/generations", json={"model": "flux-schnell", "prompt": "a", "n": 2})
    response = client.get(PATH, params={"start_time": TODAY, "end_time": TODAY + DAY_S})
    assert response.json() == {
        "object": "page",
        "data": [
            {
                "object": "bucket",
                "start_time": TODAY,
                "end_time": TODAY + DAY_S,
                "results": [
                    {
                        "object": "organization.usage.images.result",
                        "images": 2,
                        "num_model_requests": 1,
                        "api_key_id": None,
                        "model": None,
                        "size": None,
                        "source": None,
                        "project_id": None,
                        "user_id": None,
                    }
                ],
            }
        ],
        "has_more": False,
        "next_page": None,
    }


def test_a_key_sees_its_own_usage_and_an_admin_everybodys(shared: TestClient) -> None:
    for key in ("sk-a", "sk-a", "sk-b"):
        headers = {"authorization": f"Bearer {key}"}
        body = {"model": "flux-schnell", "prompt": "a", "size": "64x64"}
        shared.post("/v1/images/generations", json=body, headers=headers)

    def seen(key: str, **query: Any) -> dict[str, int]:
        results = asked(shared, key, group_by="api_key_id", **query)
        return {it["api_key_id"]: it["images"] for it in results}

    assert seen("sk-a") == {"alice": 2}
    assert seen("sk-b") == {"bob": 1}
    assert seen("sk-r") == {"alice": 2, "bob": 1}
    assert seen("sk-r", api_key_ids="bob") == {"bob": 1}
    assert seen("sk-a", **{"api_key_ids[]": ["alice", "bob"]}) == {"alice": 2}
    assert seen("sk-a", api_key_ids="bob") == {}
    assert seen("sk-r", user_ids="somebody") == {}
    assert seen("sk-r", sizes="64x64", sources="image.generation", models="flux-schnell") == {
        "alice": 2,
        "bob": 1,
    }
    assert seen("sk-r", sources="image.edit") == {}
    assert shared.get(PATH, params={"start_time": TODAY}).status_code == 401


def test_pages_of_buckets(client: TestClient) -> None:
    client.post("/v1/images/generations", json={"model": "flux-schnell", "prompt": "a"})
    query = {"start_time": TODAY + 100, "end_time": TODAY + DAY_S, "bucket_width": "1h", "limit": 7}
    pages = [client.get(PATH, params=query).json()]
    while page := pages[-1]["next_page"]:
        assert pages[-1]["has_more"]
        pages.append(client.get(PATH, params={**query, "page": page}).json())
    assert not pages[-1]["has_more"]
    buckets = [bucket for page in pages for bucket in page["data"]]
    assert (len(pages), sum(len(bucket["results"]) for bucket in buckets)) == (4, 1)
    assert [it["start_time"] for it in buckets] == list(range(TODAY, TODAY + DAY_S, 3600))


@pytest.mark.parametrize(
    ("query", "code", "param"),
    [
        ({}, "missing_required_parameter", "start_time"),
        ({"start_time": "yesterday"}, "invalid_type", "start_time"),
        ({"start_time": -1}, "integer_below_min_value", "start_time"),
        ({"start_time": 0, "bucket_width": "1w"}, "invalid_value", "bucket_width"),
        ({"start_time": 0, "limit": 32}, "integer_above_max_value", "limit"),
        ({"start_time": 0, "group_by": "colour"}, "invalid_value", "group_by"),
        ({"start_time": 0, "page": "next"}, "invalid_type", "page"),
        ({"start_time": 0, "colour": "red"}, "unknown_parameter", "colour"),
    ],
)
def test_faults(client: TestClient, query: dict[str, Any], code: str, param: str) -> None:
    response = client.get(PATH, params=query)
    error = assert_error_shape(response)
    assert (response.status_code, error["code"], error["param"]) == (400, code, param)


def test_the_official_client_reads_it(url: str) -> None:
    http = httpx.Client(trust_env=False)
    client = openai.OpenAI(
        base_url=f"{url}/v1", api_key="any", admin_api_key="any", http_client=http
    )
    client.images.generate(model="flux-schnell", prompt="a", size="64x64", n=2)  # type: ignore[arg-type]
    usage = client.admin.organization.usage.images(
        start_time=TODAY, group_by=["model", "size"], sources=["image.generation"]
    )
    (result,) = usage.data[-1].results
    assert (result.images, result.model, result.size) == (2, "flux-schnell", "64x64")  # type: ignore[union-attr]
