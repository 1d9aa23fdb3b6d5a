"""The counts of a scrape are what was asked: the whole app, over a fleet without devices."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from pipelines.core import WorkerLost
from pipelines.registry import Registry
from server.app import create_app
from server.config import Config
from tests.server.checks import assert_common_headers, assert_error_shape
from tests.server.fakes import FakeFleet, picture
from tests.server.scrape import Scrape

GENERATIONS = 'route="/v1/images/generations"'


def scrape(client: TestClient, **headers: str) -> Scrape:
    response = client.get("/metrics", headers=headers)
    assert response.status_code == 200
    assert_common_headers(response)
    return Scrape(response.text)


def test_what_was_answered_is_counted(client: TestClient, generate: Callable[..., Any]) -> None:
    assert generate(n=3).status_code == 200
    assert generate(model="flux-schnell").status_code == 200
    assert generate(n=99).status_code == 400
    now = scrape(client)
    assert now[f'darkroom_requests_total{{model="demo",{GENERATIONS},status="200"}}'] == 2
    assert now[f'darkroom_requests_total{{model="",{GENERATIONS},status="400"}}'] == 1
    assert now[f'darkroom_request_duration_seconds_count{{model="demo",{GENERATIONS}}}'] == 2
    assert now['darkroom_images_total{model="demo"}'] == 4
    assert now["darkroom_queue_wait_seconds_count"] == 4
    assert now['darkroom_device_images_total{device="cpu"}'] == 4


def test_paths_that_somebody_made_up_are_one(client: TestClient) -> None:
    for number in range(5):
        client.get(f"/{number}")
        client.get(f"/images/img-{number}.png")
        client.request(f"M{number}", f"/v1/files/{number}")
    requests = {query for query in scrape(client) if query.startswith("darkroom_requests")}
    assert len(requests) == 3
    assert 'darkroom_requests_total{model="",route="none",status="404"}' in requests


def test_a_refusal_has_its_reason(
    client: TestClient, fleet: FakeFleet, generate: Callable[..., Any]
) -> None:
    fleet.room = 0
    assert generate().status_code == 429
    now = scrape(client)
    assert now['darkroom_refusals_total{reason="queue_images"}'] == 1
    assert now['darkroom_refusals_total{reason="key_images_in_queue"}'] == 0
    assert now[f'darkroom_requests_total{{model="demo",{GENERATIONS},status="429"}}'] == 1


def test_the_limits_of_a_key(
    config: Config, registry: Registry, fleet: FakeFleet, tmp_path: Path
) -> None:
    (tmp_path / "keys.txt").write_text("anna:secret images-per-minute=2 in-queue=9\n")
    config = replace(config, api_keys=tmp_path / "keys.txt")
    key = {"authorization": "Bearer secret"}
    with TestClient(create_app(config, registry, fleet)) as client:  # type: ignore[arg-type]
        for _ in range(3):
            client.post("/v1/images/generations", json={"prompt": "a"}, headers=key)
        assert_error_shape(client.get("/metrics"))
        now = scrape(client, **key)
    assert now['darkroom_refusals_total{reason="key_images_per_minute"}'] == 1
    assert now['darkroom_key_images_total{key="anna"}'] == 2
    assert now['darkroom_requests_total{model="",route="/metrics",status="401"}'] == 1


def test_a_key_sees_itself_and_an_admin_everybody(
    config: Config, registry: Registry, fleet: FakeFleet, tmp_path: Path
) -> None:
    (tmp_path / "keys.txt").write_text("anna:a\nbert:b\nboss:c admin=true\n")
    config = replace(config, api_keys=tmp_path / "keys.txt")
    keys = {key: {"authorization": f"Bearer {key}"} for key in "abc"}
    with TestClient(create_app(config, registry, fleet)) as client:  # type: ignore[arg-type]
        for key in "ab":
            client.post("/v1/images/generations", json={"prompt": "a"}, headers=keys[key])
        seen = {key: scrape(client, **sent) for key, sent in keys.items()}
    told = {
        key: {it.labels["key"] for it in page.samples if "key" in it.labels}
        for key, page in seen.items()
    }
    assert told == {"a": {"anna"}, "b": {"bert"}, "c": {"anna", "bert"}}
    assert seen["a"]['darkroom_images_total{model="demo"}'] == 2


def test_the_time_of_devices_is_that_of_its_key(
    client: TestClient, fleet: FakeFleet, generate: Callable[..., Any]
) -> None:
    fleet.outcome = lambda job: replace(picture(job), device_seconds=0.5)
    generate(n=3)
    assert scrape(client)['darkroom_key_device_seconds_total{key=""}'] == 1.5


@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_counts_as_what_it_is_told(
    client: TestClient, fleet: FakeFleet, generate: Callable[..., Any], stream: bool
) -> None:
    """A stream has begun with 200 by then."""
    fleet.outcome = lambda job: WorkerLost("a")
    answer = generate(model="gpt-image-1", stream=stream)
    assert answer.status_code == (200 if stream else 500)
    now = scrape(client)
    assert now[f'darkroom_requests_total{{model="demo",{GENERATIONS},status="500"}}'] == 1
    assert now['darkroom_jobs_total{outcome="lost"}'] == 1


def test_what_nobody_foresaw_is_a_500(
    client: TestClient, fleet: FakeFleet, generate: Callable[..., Any]
) -> None:
    fleet.outcome = lambda job: RuntimeError("a")
    assert generate().status_code == 500
    now = scrape(client)
    assert now[f'darkroom_requests_total{{model="demo",{GENERATIONS},status="500"}}'] == 1


def test_two_apps_count_apart(config: Config, registry: Registry, tmp_path: Path) -> None:
    fleets = [FakeFleet(), FakeFleet()]
    configs = [replace(config, data_dir=tmp_path / name) for name in ("one", "other")]
    apps = [create_app(it, registry, fleet) for it, fleet in zip(configs, fleets, strict=True)]  # type: ignore[arg-type]
    with TestClient(apps[0]) as one, TestClient(apps[1]) as other:
        one.post("/v1/images/generations", json={"prompt": "a"})
        assert scrape(one)['darkroom_jobs_total{outcome="image"}'] == 1
        assert scrape(other)['darkroom_jobs_total{outcome="image"}'] == 0
