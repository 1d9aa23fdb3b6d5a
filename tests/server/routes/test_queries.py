"""Query parameters of every route: those that it does not have are refused, as in a body."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from pipelines.registry import Registry
from server.app import create_app
from server.config import Config
from server.document.operations import OPERATIONS
from tests.server.checks import assert_error_shape
from tests.server.fakes import FakeFleet

OPEN = {"/", "/v1", "/docs", "/favicon.ico", "/images/{name}"}
"""Links lead there, and whoever shares one may add to it."""

ROUTES = [it for it in OPERATIONS if it[1] not in OPEN]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_an_unknown_one_is_refused(
    client: TestClient, fleet: FakeFleet, method: str, path: str
) -> None:
    where = path.replace("{id}", "demo").replace("{name}", "demo")
    body: dict[str, Any] = {"json": {"prompt": "a cat"}} if method == "post" else {}
    response = client.request(method, where, params={"start_time": 0, "colour": "red"}, **body)
    if response.request.method != "HEAD":
        error = assert_error_shape(response)
        unknown = "colour" if "usage" in path else "start_time"
        assert (error["param"], error["code"]) == (unknown, "unknown_parameter")
    assert response.status_code == 400
    assert fleet.jobs == []


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_the_version_that_azures_clients_send_is_none(
    client: TestClient, method: str, path: str
) -> None:
    where = path.replace("{id}", "demo").replace("{name}", "demo")
    plain = client.request(method, where)
    versioned = client.request(method, f"{where}?api-version=2026-10-01-preview")
    assert versioned.status_code == plain.status_code


def test_a_link_to_a_result_may_have_more(client: TestClient, generate: Any) -> None:
    url = generate(model="dall-e-2").json()["data"][0]["url"]
    assert client.get(f"{url}&utm_source=chat").status_code == 200
    assert client.get(f"{url}&utm_source=chat".replace("st=", "so=")).status_code == 403


def test_the_key_is_asked_for_first(
    tmp_path: Path, config: Config, registry: Registry, fleet: Any
) -> None:
    (tmp_path / "keys").write_text("alice:sk-right\n")
    with TestClient(create_app(replace(config, api_keys=tmp_path / "keys"), registry, fleet)) as it:
        assert it.get("/v1/files?colour=red").status_code == 401
        assert it.post("/v1/images/generations?colour=red", json={}).status_code == 401
