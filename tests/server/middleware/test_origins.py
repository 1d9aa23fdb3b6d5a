"""Pages of other sites: what they may send, and what scripts of allowed ones may read."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from pipelines.core import JobFailed
from pipelines.registry import Registry
from server.app import create_app
from server.callers.auth import keys_of
from server.callers.keys import KeyStore
from server.config import Config, ConfigError
from tests.server.checks import assert_error_shape
from tests.server.fakes import FakeFleet

GENERATIONS = "/v1/images/generations"
BODY = {"prompt": "a red circle", "model": "demo"}
EVIL = "https://evil.example.com"
APP = "https://app.example.org"

Serving = Callable[..., Any]


@pytest.fixture
def serving(config: Config, registry: Registry, fleet: FakeFleet, tmp_path: Path) -> Serving:
    @contextmanager
    def serve(base: str = "http://127.0.0.1:8000", key: str = "", **how: Any) -> Iterator[Any]:
        if key:
            (tmp_path / "keys.txt").write_text(key)
            how["api_keys"] = tmp_path / "keys.txt"
        app = create_app(replace(config, **how), registry, fleet)  # type: ignore[arg-type]
        with TestClient(app, base, raise_server_exceptions=False) as client:
            yield client

    return serve


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": EVIL},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:8001"},
        {"origin": "https://127.0.0.1.evil.example.com"},
        {"origin": EVIL, "sec-fetch-site": "cross-site"},
        {"origin": "http://localhost:3000", "sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
        {"origin": "nonsense"},
    ],
)
@pytest.mark.parametrize(
    ("method", "path", "how"),
    [
        ("POST", GENERATIONS, {"json": BODY}),
        ("POST", "/images/generations", {"json": BODY}),
        ("POST", "/v1/images/edits", {"data": BODY, "files": {"image": b"x"}}),
        ("POST", "/v1/images/variations", {"files": {"image": b"x"}}),
        ("POST", "/v1/moderations", {"json": {"input": "a"}}),
        ("POST", "/v1/files", {"data": {"purpose": "vision"}, "files": {"file": b"x"}}),
        ("DELETE", "/v1/files/file-1", {}),
    ],
)
def test_pages_of_other_sites_change_nothing(
    serving: Serving, fleet: FakeFleet, config: Config,
    headers: dict[str, str], method: str, path: str, how: dict[str, Any],
) -> None:  # fmt: skip
    with serving() as client:
        response = client.request(method, path, headers=headers, **how)
    assert response.status_code == 403
    assert assert_error_shape(response)["code"] == "origin_not_allowed"
    assert "access-control-allow-origin" not in response.headers
    assert fleet.jobs == []
    assert list((config.data_dir / "files").glob("*")) == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://127.0.0.1:8000"},
        {"origin": "https://127.0.0.1:8000"},
        {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"origin": "https://images.example.org", "sec-fetch-site": "same-origin"},
        {"sec-fetch-mode": "cors", "accept-language": "*", "user-agent": "OpenAI/JS 7.59.0"},
        {"user-agent": "curl/8.9"},
    ],
)
def test_own_pages_and_programs_are_served(serving: Serving, headers: dict[str, str]) -> None:
    with serving() as client:
        assert client.post(GENERATIONS, json=BODY, headers=headers).status_code == 200


@pytest.mark.parametrize("public_url", [None, "https://images.example.org/darkroom"])
def test_own_pages_are_served_behind_a_proxy(serving: Serving, public_url: str | None) -> None:
    """TestClient's address is no IP address, so only the second way has no trusted proxy."""
    page = {"origin": "https://images.example.org"}
    with serving(public_url=public_url) as client:
        status = client.post(GENERATIONS, json=BODY, headers=page).status_code
        host = page | {"host": "images.example.org"}
        proxied = client.post(GENERATIONS, json=BODY, headers=host).status_code
    assert (status, proxied) == ((200, 200) if public_url else (403, 403))


@pytest.mark.parametrize("key", ["", "sesame"])
def test_allowed_pages_can_send_and_read(serving: Serving, key: str) -> None:
    headers = {"origin": APP, "sec-fetch-site": "cross-site", "authorization": f"Bearer {key}"}
    with serving(cors_origins=(APP,), key=key) as client:
        made = client.post(GENERATIONS, json=BODY, headers=headers)
        assert made.status_code == 200
        assert made.headers["access-control-allow-origin"] == APP
        assert made.headers["vary"] == "Origin"
        link = client.get(made.json()["data"][0]["url"], headers={"origin": APP})
        assert link.status_code == 200
        assert link.headers["access-control-allow-origin"] == APP
        refused = client.post(GENERATIONS, json=BODY, headers=headers | {"origin": EVIL})
        assert refused.status_code == 403


def test_scripts_can_read_errors_and_headers(serving: Serving, fleet: FakeFleet) -> None:
    page = {"origin": APP}
    with serving(cors_origins=(APP,)) as client:
        answers = [
            client.post(GENERATIONS, json={}, headers=page),
            client.get("/nowhere", headers=page),
        ]
        fleet.room = 0
        answers.append(client.post(GENERATIONS, json=BODY, headers=page))
        fleet.room, fleet.outcome = None, lambda job: JobFailed("x")
        answers.append(client.post(GENERATIONS, json=BODY, headers=page))
        fleet.status = lambda: 1 / 0  # type: ignore[method-assign,return-value,assignment]
        answers.append(client.get("/status", headers=page))
    assert [answer.status_code for answer in answers] == [400, 404, 429, 500, 500]
    for answer in answers:
        assert_error_shape(answer)
        assert answer.headers["access-control-allow-origin"] == APP
    exposed = answers[2].headers["access-control-expose-headers"].lower().split(", ")
    assert {"retry-after", "retry-after-ms", "x-request-id", "x-darkroom-seeds"} <= set(exposed)


def test_streams_can_be_read_by_allowed_pages(serving: Serving) -> None:
    body = BODY | {"stream": True}
    with serving(cors_origins=(APP,)) as client:
        response = client.post(GENERATIONS, json=body, headers={"origin": APP})
    assert response.headers["access-control-allow-origin"] == APP
    assert "image_generation.completed" in response.text


PREFLIGHT = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-stainless-lang",
}


@pytest.mark.parametrize("path", [GENERATIONS, "/images/generations", "/v1/files/file-1", "/x"])
def test_preflights_of_allowed_pages_are_answered_without_a_key(
    serving: Serving, path: str
) -> None:
    headers = PREFLIGHT | {"origin": APP, "access-control-request-private-network": "true"}
    with serving(cors_origins=(APP,), key="sesame") as client:
        response = client.options(path, headers=headers)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == APP
    assert "DELETE" in response.headers["access-control-allow-methods"]
    assert "x-stainless-lang" in response.headers["access-control-allow-headers"]
    assert response.headers["access-control-allow-private-network"] == "true"


@pytest.mark.parametrize("allowed", [(), (APP,)])
def test_preflights_of_other_pages_are_refused(serving: Serving, allowed: Any) -> None:
    with serving(cors_origins=allowed) as client:
        response = client.options(GENERATIONS, headers=PREFLIGHT | {"origin": EVIL})
    assert response.status_code == 403
    assert assert_error_shape(response)["code"] == "origin_not_allowed"
    assert "access-control-allow-origin" not in response.headers


def test_any_page_with_a_key(serving: Serving) -> None:
    headers = {"origin": EVIL, "sec-fetch-site": "cross-site"}
    with serving(cors_origins=("*",), key="sesame") as client:
        assert client.post(GENERATIONS, json=BODY, headers=headers).status_code == 401
        headers["authorization"] = "Bearer sesame"
        response = client.post(GENERATIONS, json=BODY, headers=headers)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "*"


def test_any_page_without_keys_is_refused_at_start(config: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--cors-origins"):
        keys_of(replace(config, cors_origins=("*",)), KeyStore(tmp_path / "keys.db"))


@pytest.mark.parametrize(
    "host", ["evil.example.com:8000", "a!b.evil.example.com", "e.example.com:x"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_name_pointed_to_this_machine_is_refused(
    serving: Serving, method: str, host: str
) -> None:
    rebound = {"host": host, "origin": f"http://{host}", "sec-fetch-site": "same-origin"}
    path = "/v1/files" if method == "GET" else GENERATIONS
    with serving() as client:
        response = client.request(method, path, headers=rebound)
        assert response.status_code == 403
        assert assert_error_shape(response)["code"] == "host_not_allowed"
        for host in ("localhost:8000", "[::1]:8000", "darkroom", "192.168.1.7", "box.local:80"):
            assert client.get("/v1/files", headers={"host": host}).status_code == 200


def test_public_names_are_served_where_they_are_meant(serving: Serving) -> None:
    for how in ({"host": "0.0.0.0", "no_auth": True}, {"public_url": "https://pub.example.com"}):
        with serving(**how) as client:
            public = {"host": "pub.example.com:443"}
            assert client.get("/v1/models", headers=public).status_code == 200
    with serving(key="sesame") as client:
        headers = {"host": "pub.example.com", "authorization": "Bearer sesame"}
        assert client.get("/v1/models", headers=headers).status_code == 200


def test_refused_pages_are_counted(serving: Serving) -> None:
    with serving() as client:
        client.post(GENERATIONS, json=BODY, headers={"origin": EVIL})
        assert 'status="403"' in client.get("/metrics").text
