"""Names that stand for others, on every endpoint that takes a `model`."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient

from pipelines.registry import Registry
from server.app import create_app
from server.config import Config
from tests.server.checks import assert_error_shape
from tests.server.fakes import FakeFleet
from tests.server.pictures import file_of, noise

SERVED_AS = "x-darkroom-served-as"


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("gpt-image-2-2026-04-21", "gpt-image-2"),
        ("gpt-image-2.6-sunburst", "gpt-image-2.5-flare"),
        ("openai/gpt-image-1", "gpt-image-1"),
        ("openai/flux-schnell", "flux-schnell"),
        ("dall-e-4", "dall-e-3"),
    ],
)
def test_it_is_served_and_told(client: TestClient, generate: Any, name: str, known: str) -> None:
    response = generate(model=name)
    assert (response.status_code, response.headers[SERVED_AS]) == (200, known)
    assert ("usage" in response.json()) == ("gpt-image" in name)
    told = client.get(f"/v1/models/{name}")
    assert (told.json()["id"], told.headers[SERVED_AS]) == (name, known)
    assert SERVED_AS not in generate(model=known).headers


def test_it_promises_what_its_own_version_does(generate: Any, fleet: FakeFleet) -> None:
    """`xhigh` is of 2.5 and newer; whatever serves them."""
    assert generate(model="gpt-image-2.6-flare", quality="xhigh").status_code == 200
    assert generate(model="gpt-image-2-2026-04-21", quality="xhigh").status_code == 400
    assert generate(model="openai/dall-e-3", n=2).status_code == 400
    assert len(fleet.jobs) == 1


def test_edits_and_variations(client: TestClient) -> None:
    files = {"image": file_of(noise())}
    edit = client.post(
        "/v1/images/edits", files=files, data={"model": "openai/gpt-image-1", "prompt": "a"}
    )
    assert (edit.status_code, edit.headers[SERVED_AS]) == (200, "gpt-image-1")
    varied = client.post("/v1/images/variations", files=files, data={"model": "openai/dall-e-2"})
    assert (varied.status_code, varied.headers[SERVED_AS]) == (200, "dall-e-2")
    refused = client.post(
        "/v1/images/edits", files=files, data={"model": "dall-e-4", "prompt": "a"}
    )
    assert assert_error_shape(refused)["param"] == "model"


@pytest.mark.parametrize("where", ["generations", "models"])
def test_a_name_that_is_none_is_told_the_nearest(
    client: TestClient, generate: Any, where: str
) -> None:
    name = "gpt-image-1-x"
    response = generate(model=name) if where == "generations" else client.get(f"/v1/models/{name}")
    message = assert_error_shape(response)["message"]
    assert message.startswith(f"The model '{name}' does not exist. Did you mean 'gpt-image-1'")
    assert "GET /v1/models" in message
    told = assert_error_shape(generate(model="zebra"))["message"]
    assert "Did you mean" not in told and "GET /v1/models" in told


@pytest.fixture
def strict(config: Config, registry: Registry, fleet: Any) -> Iterator[TestClient]:
    with TestClient(create_app(replace(config, strict=True), registry, fleet)) as client:
        yield client


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("gpt-image-1", 200),
        ("flux-schnell", 200),
        ("gpt-image-2-2026-04-21", 200),
        ("gpt-image-2.6-sunburst", 200),
        ("gpt-image-2.7", 400),
        ("gpt-image-1-2025-04-23", 400),
        ("openai/gpt-image-1", 400),
        ("dall-e-4", 400),
    ],
)
def test_a_strict_server_has_the_names_that_openai_has(
    strict: TestClient, name: str, status: int
) -> None:
    body = {"model": name, "prompt": "a cat"}
    assert strict.post("/v1/images/generations", json=body).status_code == status
    assert strict.get(f"/v1/models/{name}").status_code == (404 if status == 400 else 200)


def test_the_books_have_the_known_name(client: TestClient, generate: Any) -> None:
    """Whatever clients think up, there are no more names in the ledger than in weights.yaml."""
    generate(model="gpt-image-2.6-anything")
    query: Any = {"start_time": int(time.time()), "group_by": "model", "limit": 1}
    (bucket,) = client.get("/v1/organization/usage/images", params=query).json()["data"]
    assert [it["model"] for it in bucket["results"]] == ["gpt-image-2.5-flare"]
