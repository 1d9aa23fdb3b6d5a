"""The app over a fake fleet, with a registry of one installed model and one that is not."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from pipelines.registry import Registry
from server.app import create_app
from server.config import Config
from tests.server.fakes import FakeFleet
from tests.server.sockets import connected, serving

PRESETS = (
    "{low: {steps: 4, guidance_scale: 0}, medium: {steps: 8, guidance_scale: 1.5}, "
    "high: {steps: 16, guidance_scale: 3}}"
)

WEIGHTS = f"""
models:
  demo:
    source: demo
    dtype: float32
    native: {{smallest: 64, largest: 64, multiple: 16}}
    quality: {PRESETS}
  absent:
    source: hub:somebody/absent
    dtype: float32
    native: {{smallest: 64, largest: 64, multiple: 16}}
    quality: {PRESETS}
names:
  dall-e-2: [demo]
  dall-e-3: [absent, demo]
  gpt-image-1: [demo]
  gpt-image-2: [demo]
  gpt-image-2.5-flare: [demo]
  flux-schnell: [demo]
  only-absent: [absent]
"""


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "model_index.json").write_text("{}")
    (tmp_path / "weights.yaml").write_text(WEIGHTS)
    return Registry(tmp_path / "weights.yaml", tmp_path / "models")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(weights=(tmp_path / "weights.yaml",), data_dir=tmp_path / "data")


@pytest.fixture
def fleet() -> FakeFleet:
    return FakeFleet()


@pytest.fixture
def client(config: Config, registry: Registry, fleet: FakeFleet) -> Iterator[TestClient]:
    with TestClient(create_app(config, registry, fleet), "http://darkroom.test") as client:
        yield client


@pytest.fixture
def url(config: Config, registry: Registry, fleet: FakeFleet) -> Iterator[str]:
    """Where the app over the fake fleet is on a real socket."""
    with serving(replace(config, port=0), registry, fleet) as where:
        yield where


@pytest.fixture
def wire(url: str) -> Iterator[socket.socket]:
    """A bare connection to it."""
    with connected(url) as connection:
        yield connection


@pytest.fixture
def generate(client: TestClient) -> Callable[..., Any]:
    """POST a body of these parameters; the prompt is there unless it is given."""

    def post(**parameters: Any) -> Any:
        body = {"prompt": "a red circle", **parameters}
        return client.post("/v1/images/generations", json=body)

    return post
