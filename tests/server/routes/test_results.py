import os
import time
from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient

from pipelines.registry import Registry
from server.app import create_app
from server.config import Config
from server.keeping import links
from tests.server.checks import assert_common_headers, assert_error_shape
from tests.server.fakes import FakeFleet
from tests.server.sockets import wait_for


@pytest.fixture
def url(generate: Any) -> str:
    made: str = generate().json()["data"][0]["url"]
    return made


def test_get_and_head(client: TestClient, url: str) -> None:
    got, head = client.get(url), client.head(url)
    for response in (got, head):
        assert response.status_code == 200
        assert_common_headers(response)
        assert response.headers["content-type"] == "image/png"
        assert int(response.headers["content-length"]) == len(got.content)
        assert response.headers["accept-ranges"] == "bytes"
        assert response.headers["etag"] and response.headers["last-modified"]
    assert got.content.startswith(b"\x89PNG")
    assert head.content == b""


def test_a_part_of_it(client: TestClient, url: str) -> None:
    response = client.get(url, headers={"range": "bytes=0-7"})
    assert (response.status_code, response.content) == (206, b"\x89PNG\r\n\x1a\n")


@pytest.mark.parametrize(
    "change", [("sig=", "sig=x"), ("se=2", "se=3"), ("?", "?a=b#"), ("st=", "s=")]
)
def test_a_changed_link(client: TestClient, url: str, change: tuple[str, str]) -> None:
    response = client.get(url.replace(*change))
    assert (response.status_code, assert_error_shape(response)["code"]) == (403, "link_invalid")


def test_an_expired_link(client: TestClient, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    later = time.time() + 3601
    monkeypatch.setattr(time, "time", lambda: later)
    response = client.get(url)
    assert (response.status_code, assert_error_shape(response)["code"]) == (403, "link_expired")


def test_a_file_that_is_gone(client: TestClient, url: str, config: Config) -> None:
    for path in (config.data_dir / "images").iterdir():
        path.unlink()
    response = client.get(url)
    assert (response.status_code, assert_error_shape(response)["code"]) == (404, "result_not_found")


def test_a_signed_name_of_another_file(client: TestClient, config: Config) -> None:
    key = links.load_key(config.data_dir / "link.key")
    url = links.Links(key).make("", "link.key", time.time())
    assert client.get(url).status_code == 404


def test_links_outlive_a_restart(
    generate: Any, url: str, config: Config, registry: Registry, fleet: FakeFleet
) -> None:
    with TestClient(create_app(config, registry, fleet)) as again:  # type: ignore[arg-type]
        assert again.get(url).status_code == 200


def test_what_an_earlier_process_left_is_swept(
    config: Config, registry: Registry, fleet: FakeFleet
) -> None:
    images = config.data_dir / "images"
    images.mkdir(parents=True)
    old, half = images / ("img-" + "a" * 24 + ".png"), images / "img-b.png.partial"
    for path in (old, half):
        path.write_bytes(b"x")
        os.utime(path, (0, 0))
    with TestClient(create_app(config, registry, fleet)):  # type: ignore[arg-type]
        wait_for(lambda: os.listdir(images) == [])


def test_the_public_url_wins_over_the_host(
    config: Config, registry: Registry, fleet: FakeFleet
) -> None:
    config = replace(config, public_url="https://images.example.org/darkroom")
    with TestClient(create_app(config, registry, fleet)) as client:  # type: ignore[arg-type]
        made = client.post("/v1/images/generations", json={"prompt": "a"}).json()["data"][0]["url"]
    assert made.startswith("https://images.example.org/darkroom/images/img-")


@pytest.mark.parametrize(
    ("host", "base"),
    [
        ("box.local:9000", "http://box.local:9000/images/"),
        ("[::1]:8000", "http://[::1]:8000/images/"),
        ("a b", "http://darkroom.test:80/images/"),
        ("user@evil.test", "http://darkroom.test:80/images/"),
    ],
)
def test_links_lead_to_where_the_client_found_the_server(
    client: TestClient, host: str, base: str
) -> None:
    response = client.post("/v1/images/generations", json={"prompt": "a"}, headers={"host": host})
    assert response.json()["data"][0]["url"].startswith(base)
