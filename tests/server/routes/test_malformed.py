"""Whatever a body holds, it is answered as the contract says."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from pipelines.registry import Registry
from server.app import create_app
from server.config import Config
from server.reading.profiles import FAMILIES
from tests.server.checks import assert_error_shape
from tests.server.fakes import FakeFleet

MODELS = ["dall-e-2", "dall-e-3", "gpt-image-1", "gpt-image-2", "flux-schnell", "only-absent"]
NAMES = sorted({name for _, profile in FAMILIES for name in profile.parameters})
WORDS = ["", "auto", "1024x1024", "256x256", "url", "high", "png", "transparent", "null", "0", "x"]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
parameters = st.dictionaries(st.sampled_from(NAMES) | st.text(), json_values, max_size=6)


@pytest.fixture
def full(config: Config, registry: Registry, fleet: FakeFleet) -> Iterator[TestClient]:
    """A server that refuses good requests as well, so that nothing is drawn; it raises nothing."""
    fleet.room = 0
    app = create_app(config, registry, fleet)  # type: ignore[arg-type]
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def told(client: TestClient, body: bytes) -> dict[str, Any]:
    headers = {"content-type": "application/json"}
    response = client.post("/v1/images/generations", content=body, headers=headers)
    assert response.status_code in (400, 429), response.text
    return assert_error_shape(response)


@given(sent=parameters, model=st.sampled_from(MODELS) | st.text(), prompt=st.text())
def test_any_values(full: TestClient, sent: dict[str, Any], model: str, prompt: str) -> None:
    told(full, json.dumps({"model": model, "prompt": prompt, **sent}).encode())


@given(body=st.binary())
def test_any_bytes(full: TestClient, body: bytes) -> None:
    told(full, body)


@given(
    sent=parameters,
    cuts=st.lists(st.tuples(st.integers(0, 500), st.integers(0, 9), st.binary(max_size=4))),
)
def test_spoiled_json(
    full: TestClient, sent: dict[str, Any], cuts: list[tuple[int, int, bytes]]
) -> None:
    body = bytearray(json.dumps({"prompt": "a cat", **sent}).encode())
    for position, length, put in cuts:
        at = position % (len(body) + 1)
        body[at : at + length] = put
    told(full, bytes(body))
