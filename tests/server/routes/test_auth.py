"""Which routes want a key, and what happens without one."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from pipelines.registry import Registry
from server.app import create_app
from server.config import Config
from tests.server.checks import assert_error_shape
from tests.server.fakes import FakeFleet

CLOSED = [
    ("POST", "/v1/images/generations"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/demo"),
    ("GET", "/status"),
]


@pytest.fixture
def locked(
    tmp_path: Path, config: Config, registry: Registry, fleet: FakeFleet
) -> Iterator[TestClient]:
    (tmp_path / "keys").write_text("alice:sk-right\n")
    config = replace(config, api_keys=tmp_path / "keys")
    with TestClient(create_app(config, registry, fleet)) as client:  # type: ignore[arg-type]
        yield client


@pytest.mark.parametrize(("method", "path"), CLOSED)
def test_no_key(locked: TestClient, fleet: FakeFleet, method: str, path: str) -> None:
    response = locked.request(method, path, json={"prompt": "a"})
    error = assert_error_shape(response)
    assert (response.status_code, error["code"]) == (401, None)
    assert error["message"].startswith("You didn't provide an API key.")
    assert response.headers["www-authenticate"] == 'Bearer realm="OpenAI API"'
    assert response.headers["x-should-retry"] == "false"
    assert fleet.jobs == []


@pytest.mark.parametrize(("method", "path"), CLOSED)
def test_wrong_key(locked: TestClient, fleet: FakeFleet, method: str, path: str) -> None:
    headers = {"authorization": "Bearer invalid-key"}
    response = locked.request(method, path, json={"prompt": "a"}, headers=headers)
    error = assert_error_shape(response)
    assert (response.status_code, error["code"]) == (401, "invalid_api_key")
    assert error["message"].startswith("Incorrect API key provided: invalid-key.")
    assert fleet.jobs == []


def test_the_right_key(locked: TestClient, fleet: FakeFleet) -> None:
    headers = {"authorization": "Bearer sk-right"}
    response = locked.post("/v1/images/generations", json={"prompt": "a"}, headers=headers)
    assert response.status_code == 200
    assert fleet.jobs[0].caller == "alice"
    assert locked.get(response.json()["data"][0]["url"]).status_code == 200  # the link is the key


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_open_to_all(locked: TestClient, path: str) -> None:
    assert locked.get(path).status_code == 200


def test_a_key_is_asked_for_before_the_body_is_read(locked: TestClient) -> None:
    assert locked.post("/v1/images/generations", content=b"{" * 2_000_000).status_code == 401


def test_without_keys_any_key_will_do(client: TestClient) -> None:
    for headers in ({}, {"authorization": "Bearer anything"}):
        assert client.get("/v1/models", headers=headers).status_code == 200
