"""The document itself: whole, valid, and the same as the code and docs/api.md say."""

import json
import re
from dataclasses import replace
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import pytest
from openapi_spec_validator import validate
from starlette.testclient import TestClient

from server import answers, errors, routes
from server.app import create_app
from server.config import Config
from server.document.openapi import document
from server.document.operations import OPERATIONS
from tests.server.test_docs import first_column, section

DOCUMENT = document()


def body_names(path: str, media: str) -> set[str]:
    content: dict[str, Any] = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]
    return set(content[media]["schema"]["properties"])


def test_it_is_valid() -> None:
    validate(DOCUMENT)


def test_it_is_served_to_anybody(client: TestClient) -> None:
    response = client.get("/openapi.json")
    assert response.headers["content-type"] == "application/json"
    assert response.json() == json.loads(json.dumps(DOCUMENT))


def test_it_needs_no_key_and_tells_nothing_of_this_server(
    config: Config, registry: Any, fleet: Any, tmp_path: Any
) -> None:
    (tmp_path / "keys.txt").write_text("sesame")
    app = create_app(replace(config, api_keys=tmp_path / "keys.txt"), registry, fleet)
    with TestClient(app) as client:
        assert client.get("/v1/models").status_code == 401
        told = client.get("/openapi.json").text
    assert all(f'"{name}"' not in told for name in ("flux-schnell", "only-absent"))


def test_no_page_loads_anything_from_elsewhere(client: TestClient) -> None:
    assert client.get("/redoc").status_code == 404
    page = client.get("/docs")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert not re.search(r"(src|href)=\"(https?:)?//|<script|@import|url\(", page.text)
    for method, path in OPERATIONS:
        assert f"<b>{method.upper()}</b> {path}<" in page.text


def test_every_route_is_in_it() -> None:
    groups = [import_module(f"server.routes.{it.name}") for it in iter_modules(routes.__path__)]
    served = {
        (method.lower(), route.path_format.replace("{name}", "{id}"))
        for group in groups
        for route in group.router.routes
        for method in route.methods
    }
    assert served == {(method, path.replace("{name}", "{id}")) for method, path in OPERATIONS}


def test_it_tells_which_operations_need_a_key_and_refuse_a_query(
    client: TestClient, config: Config, registry: Any, fleet: Any, tmp_path: Any
) -> None:
    (tmp_path / "keys.txt").write_text("sesame")
    app = create_app(replace(config, api_keys=tmp_path / "keys.txt"), registry, fleet)
    with TestClient(app) as keyed:
        for (method, path), operation in OPERATIONS.items():
            path = path.replace("{id}", "x").replace("{name}", "x")
            without_key = keyed.request(method, path)
            assert (without_key.status_code == 401) == operation.keyed, path
            refused = client.request(method, path, params={"surplus": "1"})
            is_refused = refused.status_code == 400 and "'surplus'" in refused.text
            assert is_refused == operation.refuses_query, path


def test_every_error_is_in_it() -> None:
    told = {kind for operation in OPERATIONS.values() for kind in operation.fails}
    assert answers.TABLE.keys() - told == {
        errors.MethodNotSupported,  # of no method of the path
        errors.ClientDisconnected,  # nobody reads it
        Exception,  # of every operation
    }
    assert all(
        "500" in it["responses"] for path in DOCUMENT["paths"].values() for it in path.values()
    )


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=lambda it: it)
def test_who_needs_a_key_can_be_told_that_it_is_wrong(method: str, path: str) -> None:
    told = DOCUMENT["paths"][path][method]
    assert bool(told["security"]) == ("401" in told["responses"])


def test_the_docs_name_the_same_parameters() -> None:
    generations = first_column(section("## Parameters")) | first_column(section("### Extensions"))
    edits = first_column(section("## Edits"))
    form, as_json = "multipart/form-data", "application/json"
    made = body_names("/v1/images/generations", as_json)
    edited = body_names("/v1/images/edits", form) | body_names("/v1/images/edits", as_json)
    assert made == generations - {"crop"}
    assert edited == edits | generations - {"style"}
    varied = body_names("/v1/images/variations", form)
    assert varied <= generations | {"image"}
    assert all(f"`{name}`" in section("## Files") for name in body_names("/v1/files", form))


def test_the_docs_name_the_same_headers() -> None:
    rows = first_column(section("### Headers"))
    for path in DOCUMENT["paths"].values():
        for operation in path.values():
            assert all(it["headers"].keys() <= rows for it in operation["responses"].values())
