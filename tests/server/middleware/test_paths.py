"""Paths that mean an endpoint, methods that go with others, and what is said about the rest."""

from dataclasses import replace

import httpx
import pytest
from starlette.testclient import TestClient

from pipelines.registry import Registry
from server.app import create_app
from server.config import Config
from tests.server.checks import assert_common_headers, assert_error_shape
from tests.server.fakes import FakeFleet

BODY = {"prompt": "a red circle", "model": "demo"}


@pytest.mark.parametrize(
    "path",
    [
        "/images/generations",
        "//images/generations",
        "/v1//images/generations",
        "//v1/images//generations/",
        "/v1/images/generations/",
        "/v1/v1/images/generations",
    ],
)
def test_base_urls_that_are_a_little_off_are_served(
    client: TestClient, fleet: FakeFleet, path: str
) -> None:
    response = client.post(f"http://darkroom.test{path}", json=BODY)
    assert response.status_code == 200
    assert len(fleet.jobs) == 1
    assert client.get(response.json()["data"][0]["url"]).status_code == 200
    counted = 'darkroom_requests_total{model="demo",route="/v1/images/generations",status="200"} 1'
    assert counted in client.get("/metrics").text


@pytest.mark.parametrize("path", ["/models", "/models/", "/v1/models/", "/models/dall-e-2", "/v1/"])
def test_reading_needs_no_exact_base_url_either(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 200


def test_the_path_of_the_public_url_may_be_left_in_place(
    config: Config, registry: Registry, fleet: FakeFleet
) -> None:
    config = replace(config, public_url="https://pub.example.com/darkroom")
    with TestClient(create_app(config, registry, fleet)) as client:  # type: ignore[arg-type]
        assert client.post("/darkroom/v1/images/generations", json=BODY).status_code == 200
        assert client.get("/darkroom/models").status_code == 200
        assert client.get("/darkroomx/v1/models").status_code == 404


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/v1/image/generations", "/v1/images/generations"),
        ("/api/images/generations", "/v1/images/generations"),
        ("/V1/Images/Generation", "/v1/images/generations"),
        ("/openai/deployments/flux/images/edits", "/v1/images/edits"),
        ("/v1/healthz", "/healthz"),
    ],
)
def test_a_path_that_is_nearly_one_is_told_which(
    client: TestClient, fleet: FakeFleet, path: str, meant: str
) -> None:
    response = client.post(path, json=BODY)
    assert response.status_code == 404
    message = assert_error_shape(response)["message"]
    assert message == f"Invalid URL (POST {path}): did you mean {meant}?"
    assert fleet.jobs == []


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/wp-login.php", "/v1/embeddings"])
def test_another_path_is_told_where_to_look(client: TestClient, path: str) -> None:
    response = client.post(path, json={})
    assert response.status_code == 404
    assert "GET /v1 tells what there is" in assert_error_shape(response)["message"]


@pytest.mark.parametrize("path", ["/", "/v1"])
def test_the_address_itself_says_what_it_is(client: TestClient, path: str) -> None:
    told = client.get(path).json()
    assert told["name"] == "darkroom"
    for name in ("models", "docs", "openapi", "ready", "base_url"):
        assert client.get(told[name]).status_code == 200


def test_the_icon(client: TestClient) -> None:
    assert client.get("/favicon.ico").headers["content-type"] == "image/svg+xml"


@pytest.mark.parametrize(
    "path",
    ["/", "/v1", "/docs", "/healthz", "/readyz", "/status", "/metrics", "/openapi.json", "/models",
     "/v1/models", "/v1/models/dall-e-2", "/v1/files", "/v1/models/nothing", "/v1/files/file-1"],
)  # fmt: skip
def test_head_is_get_without_its_body(client: TestClient, path: str) -> None:
    got, head = client.get(path), client.head(path)
    assert head.status_code == got.status_code
    assert head.content == b""
    assert head.headers["content-type"] == got.headers["content-type"]
    if path not in ("/metrics", "/status"):
        assert head.headers["content-length"] == got.headers["content-length"]
    assert_common_headers(head)


def test_head_on_a_real_connection(url: str) -> None:
    with httpx.Client(base_url=url, trust_env=False) as client:
        for path in ("/v1/models", "/readyz"):
            assert client.head(path).status_code == 200
        assert client.get("/v1/models").json()["object"] == "list"


def test_head_needs_the_key_that_get_needs(
    config: Config, registry: Registry, fleet: FakeFleet
) -> None:
    config.data_dir.mkdir()
    (config.data_dir / "keys.txt").write_text("sesame")
    config = replace(config, api_keys=config.data_dir / "keys.txt")
    with TestClient(create_app(config, registry, fleet)) as client:  # type: ignore[arg-type]
        assert client.head("/v1/models").status_code == 401
        assert client.head("/healthz").status_code == 200
        assert client.options("/v1/models").status_code == 204


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/images/generations", "POST, OPTIONS"),
        ("/images/generations", "GET, HEAD, OPTIONS"),
        ("/v1/files", "GET, HEAD, POST, OPTIONS"),
        ("/images/img-1.png", "GET, HEAD, OPTIONS"),
        ("/", "GET, HEAD, OPTIONS"),
        ("/healthz", "GET, HEAD, OPTIONS"),
    ],
)
def test_options_tell_the_methods(client: TestClient, path: str, allowed: str) -> None:
    response = client.options(path)
    assert (response.status_code, response.headers["allow"]) == (204, allowed)
    assert_common_headers(response)


def test_options_of_nothing_and_head_of_what_is_only_sent_are_refused(client: TestClient) -> None:
    assert client.options("/nowhere").status_code == 404
    response = client.head("/v1/images/generations")
    assert (response.status_code, response.headers["allow"]) == (405, "POST, OPTIONS")
