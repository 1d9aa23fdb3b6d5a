"""A LoRA beside the demo model, through a whole server and its worker."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests import tiny_loras
from tests.live import ROOT, serving

ASKED = {"model": "demo", "prompt": "a red circle", "seed": 1, "steps": 2, "size": "256x256"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("served")
    loras = folder / "models" / "loras"
    tiny_loras.build(ROOT / "weights" / "demo", loras / "odd.safetensors", 1)
    (loras / "odd.yaml").write_text("base: demo")
    (loras / "broken.safetensors").write_bytes(b"nonsense")
    with serving(folder / "data", "--models-dir", str(folder / "models")) as url:
        yield httpx.Client(base_url=f"{url}/v1", trust_env=False, timeout=60)


def image(client: httpx.Client, **more: Any) -> str:
    body = {**ASKED, "response_format": "b64_json", **more}
    answer = client.post("/images/generations", json=body)
    assert answer.status_code == 200, answer.text
    data: str = answer.json()["data"][0]["b64_json"]
    return data


def test_with_it_and_without(client: httpx.Client) -> None:
    plain = image(client)
    worn = image(client, loras=[{"name": "odd", "scale": 2}])
    assert worn != plain
    assert image(client) == plain
    assert image(client, loras=[{"name": "odd", "scale": 2}]) == worn


def test_it_is_listed(client: httpx.Client) -> None:
    assert client.get("/models/demo").json()["loras"] == ["odd"]


def test_a_file_that_is_none(client: httpx.Client) -> None:
    answer = client.post("/images/generations", json={**ASKED, "loras": [{"name": "broken"}]})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == (
        "The LoRA 'broken' does not fit this model: its file cannot be read as a LoRA."
    )
