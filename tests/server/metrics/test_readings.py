from prometheus_client.exposition import generate_latest

from server.fleet.status import DeviceStatus, FleetStatus, Loading, QueueStatus
from server.metrics.readings import readings
from tests.server.scrape import Scrape

BUSY = DeviceStatus(
    id="cuda:0", pid=1, state="ready", resident=["flux", "demo"], lanes=7, images_done=40,
    deaths=2, passes={1: 10, 3: 4, 16: 2, 40: 1}, busy_s=12.5, evictions=3, suspects=2,
)  # fmt: skip
ASIDE = DeviceStatus(
    id="cuda:1", pid=None, state="set aside", loading=[Loading("sdxl")], deaths=5, barred=["x"]
)


def scrape(*devices: DeviceStatus, queue: QueueStatus | None = None) -> Scrape:
    fleet = FleetStatus(False, list(devices), queue or QueueStatus(0, 0.0))

    class Page:
        def collect(self):
            return readings(fleet)

    return Scrape(generate_latest(Page()).decode())


def test_the_queue() -> None:
    now = scrape(queue=QueueStatus(depth=9, wait_s=12.5, waiting=4, suspects=3))
    assert dict(now) == {
        "darkroom_ready": 0,
        "darkroom_queue_images": 9,
        "darkroom_queue_waiting_images": 4,
        "darkroom_queue_suspect_images": 3,
        "darkroom_queue_predicted_wait_seconds": 12.5,
    }


def test_every_device_by_its_name() -> None:
    now = scrape(BUSY, ASIDE)
    here, there = '{device="cuda:0"}', '{device="cuda:1"}'
    assert now[f"darkroom_device_lanes{here}"] == 7
    assert now[f"darkroom_device_suspects{here}"] == 2
    assert now[f"darkroom_device_images_total{here}"] == 40
    assert now[f"darkroom_device_busy_seconds_total{here}"] == 12.5
    assert now[f"darkroom_device_evictions_total{here}"] == 3
    assert now[f"darkroom_device_worker_deaths_total{here}"] == 2
    assert now[f"darkroom_device_worker_deaths_total{there}"] == 5


def test_one_state_of_all() -> None:
    now = scrape(BUSY, ASIDE)
    states = {query for query, value in now.items() if "_device_state" in query and value}
    assert states == {
        'darkroom_device_state{device="cuda:0",state="ready"}',
        'darkroom_device_state{device="cuda:1",state="set aside"}',
    }


def test_models_here_and_on_their_way() -> None:
    models = {query for query in scrape(BUSY, ASIDE) if "_model_" in query}
    assert models == {
        'darkroom_device_model_resident{device="cuda:0",model="flux"}',
        'darkroom_device_model_resident{device="cuda:0",model="demo"}',
        'darkroom_device_model_loading{device="cuda:1",model="sdxl"}',
        'darkroom_device_model_barred{device="cuda:1",model="x"}',
    }


def test_passes_are_a_histogram_of_rows() -> None:
    now = scrape(BUSY)
    name = "darkroom_device_pass_rows"
    bounds = ("1.0", "2.0", "4.0", "8.0", "16.0", "32.0", "+Inf")
    buckets = [now[f'{name}_bucket{{device="cuda:0",le="{bound}"}}'] for bound in bounds]
    assert buckets == [10, 10, 14, 14, 16, 16, 17]
    assert now[f'{name}_count{{device="cuda:0"}}'] == 17
    assert now[f'{name}_sum{{device="cuda:0"}}'] == 10 + 12 + 32 + 40
