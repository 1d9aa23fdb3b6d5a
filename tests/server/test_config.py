from pathlib import Path
from typing import Any

import pytest

from server.config import Config, ConfigError


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"host": ""}, "--host"),
        ({"port": -1}, "--port"),
        ({"port": 65536}, "--port"),
        ({"max_queue": 0}, "--max-queue"),
        ({"memory": 0}, "--memory"),
        ({"memory": 1.1}, "--memory"),
        ({"host_memory": -0.1}, "--host-memory"),
        ({"host_memory": float("nan")}, "--host-memory"),
        ({"devices": ()}, "--devices"),
        ({"devices": ("cpu", "gpu")}, "'gpu' is not auto, cpu or cuda:N"),
        ({"devices": ("auto", "cpu")}, "'auto' is not"),
        ({"public_url": "images.example.org"}, "--public-url"),
        ({"public_url": "ftp://example.org"}, "--public-url"),
        ({"public_url": "https://example.org/?a=b"}, "--public-url"),
        ({"public_url": "https://[::1"}, "--public-url"),
        ({"public_url": "https://example.org:99999"}, "--public-url"),
        ({"public_url": "https://:80"}, "--public-url"),
        ({"max_wait_s": float("nan")}, "--max-wait"),
        ({"api_keys": Path("keys"), "no_auth": True}, "contradict"),
    ],
)
def test_refuses_what_it_cannot_serve_with(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        Config(**settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"host": "localhost"},
        {"host": "::1"},
        {"host": "127.0.0.2"},
        {"host": "0.0.0.0", "no_auth": True},
        {"host": "0.0.0.0", "api_keys": Path("keys")},
        {"devices": ("cpu", "cpu")},
        {"devices": ("cuda:0", "cuda:11")},
        {"public_url": "https://example.org/images"},
        {"port": 0},
    ],
)
def test_accepts(settings: dict[str, Any]) -> None:
    Config(**settings)
