"""A real server whose worker has room for two of its three models: no request fails for that."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import yaml

from pipelines.models.budgets import memory_of
from pipelines.models.footprints import components_of, size_of
from pipelines.registry import Registry
from tests.conftest import entry
from tests.live import serving

FAMILIES = ("sd", "flux", "sd3")


@pytest.fixture(scope="module")
def weights(tiny_registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("three") / "weights.yaml"
    models = {family: entry(str(tiny_registry.path(family))) for family in FAMILIES}
    models["sd"]["preload"] = True
    file.write_text(yaml.safe_dump({"models": models}))
    return file


def size(weights: Path, *models: str) -> int:
    registry = Registry(weights, weights.parent)
    found = [components_of(registry.models[it], registry.path(it)).values() for it in models]
    return size_of(*({it.name: it.size for it in components} for components in found))


@pytest.fixture
def client(weights: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    share = request.param(weights) / memory_of("cpu")
    settings = ("--weights", str(weights), "--devices", "cpu", "--memory", repr(share))
    with (
        (tmp_path / "log").open("wb") as log,
        serving(tmp_path, *settings, log=log.fileno()) as url,
        httpx.Client(base_url=url, timeout=120, trust_env=False) as client,
    ):
        yield client


def ask(client: httpx.Client, model: str, seed: int) -> httpx.Response:
    body = {"model": model, "prompt": "a red fox", "size": "64x64", "seed": seed, "steps": 2}
    return client.post("/v1/images/generations", json=body | {"response_format": "b64_json"})


def device(client: httpx.Client) -> dict[str, object]:
    [found] = client.get("/status").json()["devices"]
    return found  # type: ignore[no-any-return]


@pytest.mark.parametrize("client", [lambda file: size(file, *FAMILIES) - 1], indirect=True)
def test_three_models_where_two_fit(client: httpx.Client) -> None:
    assert (device(client)["resident"], device(client)["too_large"]) == (["sd"], [])
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, client, FAMILIES[n * 7 % 3], n) for n in range(24)]
        answers = [each.result() for each in asked]
    assert [it.status_code for it in answers] == [200] * 24
    found = device(client)
    assert len(found["resident"]) == 2 and found["evictions"] > 0  # type: ignore[operator,arg-type]


@pytest.mark.parametrize("client", [lambda file: size(file, "flux") + 2048], indirect=True)
def test_a_model_that_cannot_fit_is_told_of(client: httpx.Client, tmp_path: Path) -> None:
    told = (tmp_path / "log").read_text()
    assert "sd3 does not fit on cpu: nothing but more memory would make it fit" in told
    assert (device(client)["resident"], device(client)["too_large"]) == ([], ["sd", "sd3"])
    refused = ask(client, "sd", 1)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "model_unavailable")
    assert ask(client, "flux", 1).status_code == 200
