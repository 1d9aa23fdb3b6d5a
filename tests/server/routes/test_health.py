from dataclasses import replace

from starlette.testclient import TestClient

from pipelines.registry import Registry
from server.app import create_app
from server.config import Config
from server.fleet.status import Loading
from tests.server.checks import assert_common_headers
from tests.server.fakes import FakeFleet


def test_healthz_while_loading(client: TestClient, fleet: FakeFleet) -> None:
    fleet.loading = [Loading("demo")]
    response = client.get("/healthz")
    assert_common_headers(response)
    assert response.json() == {"status": "ok"}


def test_readyz_tells_how_far_it_is(client: TestClient, fleet: FakeFleet) -> None:
    fleet.loading = [Loading("demo", 0.5)]
    response = client.get("/readyz")
    assert response.status_code == 503
    loading = [{"model": "demo", "fraction": 0.5}]
    device = {"id": "cpu", "state": "loading", "loading": loading}
    assert response.json() == {"ready": False, "devices": [device]}
    fleet.loading = []
    response = client.get("/readyz")
    assert response.status_code == 200
    assert response.json()["ready"] is True


def test_status(client: TestClient, fleet: FakeFleet) -> None:
    fleet.device = replace(fleet.device, passes={1: 4, 8: 2}, busy_s=1.5, evictions=1, deaths=2)
    body = client.get("/status").json()
    assert body["queue"] == {"depth": 0, "wait_s": 0.0, "waiting": 0, "suspects": 0}
    (device,) = body["devices"]
    assert {"id", "pid", "state", "resident", "lanes", "images_done"} <= device.keys()
    assert device["passes"] == {"1": 4, "8": 2}
    assert (device["busy_s"], device["evictions"], device["deaths"]) == (1.5, 1, 2)


def test_the_app_starts_and_stops_its_fleet(
    config: Config, registry: Registry, fleet: FakeFleet
) -> None:
    with TestClient(create_app(config, registry, fleet)):  # type: ignore[arg-type]
        assert fleet.life == ["started"]
    assert fleet.life == ["started", "stopped"]
