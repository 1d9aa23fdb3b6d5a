"""A real server with the demo model: what a scrape counts is what was asked."""

import io
from collections.abc import Iterator

import httpx
import pytest
from PIL import Image

from tests.live import serving
from tests.server.scrape import Scrape
from tests.server.sockets import wait_for

KEYS = "anna:secret-of-anna admin=true\nben:secret-of-ben images-per-minute=1\n"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("metrics")
    (folder / "keys.txt").write_text(KEYS)
    with serving(folder / "data", "--api-keys", str(folder / "keys.txt")) as base_url:
        yield base_url


def client(url: str, name: str) -> httpx.Client:
    headers = {"authorization": f"Bearer secret-of-{name}"}
    return httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False)


def scrape(anna: httpx.Client) -> Scrape:
    response = anna.get("/metrics")
    assert response.status_code == 200
    return Scrape(response.text)


def settled(anna: httpx.Client) -> Scrape:
    """A scrape of a fleet at rest: a worker sends its totals after its last image."""

    def is_settled() -> bool:
        now = scrape(anna)
        busy_s, keys_s = times(now)
        return now['darkroom_device_lanes{device="cpu"}'] == 0 and busy_s > 0.95 * keys_s

    wait_for(is_settled)
    return scrape(anna)


def times(now: Scrape) -> tuple[float, float]:
    """The seconds of the device's passes, and of the images of both keys."""
    keys_s = sum(now[f'darkroom_key_device_seconds_total{{key="{it}"}}'] for it in ("anna", "ben"))
    return now['darkroom_device_busy_seconds_total{device="cpu"}'], keys_s


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "blue").save(file, "PNG")
    return file.getvalue()


def ask(http: httpx.Client, **more: object) -> int:
    body = {"prompt": "a red circle", "model": "demo", "size": "64x64", **more}
    return http.post("/v1/images/generations", json=body).status_code


def test_the_counts_are_what_was_asked(url: str) -> None:
    with client(url, "anna") as anna, client(url, "ben") as ben:
        before = scrape(anna)
        assert before["darkroom_ready"] == 1
        assert [ask(anna, n=3), ask(anna, n=2, response_format="b64_json"), ask(ben)] == [200] * 3
        assert ask(ben) == 429
        assert ask(anna, size="none") == 400
        form = {"model": "demo", "n": "2"}
        varied = anna.post("/v1/images/variations", data=form, files={"image": picture()})
        assert varied.status_code == 200
        assert httpx.get(f"{url}/metrics", trust_env=False).status_code == 401
        now = settled(anna)
    made = 'model="demo",route="/v1/images/generations"'
    assert now[f'darkroom_requests_total{{{made},status="200"}}'] == 3
    assert now[f'darkroom_requests_total{{{made},status="429"}}'] == 1
    assert now[f"darkroom_request_duration_seconds_count{{{made}}}"] == 3
    assert now['darkroom_refusals_total{reason="key_images_per_minute"}'] == 1
    assert now['darkroom_jobs_total{outcome="image"}'] == 8
    assert now['darkroom_images_total{model="demo"}'] == 8
    assert now['darkroom_key_images_total{key="anna"}'] == 7
    assert now['darkroom_key_images_total{key="ben"}'] == 1
    assert now["darkroom_queue_wait_seconds_count"] == 8
    assert now["darkroom_queue_images"] == 0
    check_the_device(now)


def check_the_device(now: Scrape) -> None:
    """Its passes have all the rows, and the time of the images is within that of the passes."""
    device = '{device="cpu"}'
    assert now[f"darkroom_device_images_total{device}"] == 8
    assert now['darkroom_device_state{device="cpu",state="ready"}'] == 1
    assert now['darkroom_device_model_resident{device="cpu",model="demo"}'] == 1
    passes = now[f"darkroom_device_pass_rows_count{device}"]
    assert 0 < passes < now[f"darkroom_device_pass_rows_sum{device}"]
    busy_s, keys_s = times(now)
    assert keys_s == pytest.approx(busy_s, rel=0.05)
