"""What the fleet says of itself, as metric families: read at a scrape, kept nowhere.

Knows `status` and the names of metrics; not how the numbers came about.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import get_args

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from server.fleet.status import DeviceStatus, FleetStatus, State

ROWS = (1, 2, 4, 8, 16, 32)
"""The bounds between which passes are counted by their rows."""

Samples = Iterable[tuple[str, float]]
"""Values by that label which tells them apart within a device; empty where nothing has to."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """One metric of every device."""

    family: type[CounterMetricFamily] | type[GaugeMetricFamily]
    name: str
    what: str
    samples: Callable[[DeviceStatus], Samples]
    label: str | None = None

    def read(self, devices: Iterable[DeviceStatus]) -> Metric:
        family = self.family(self.name, self.what, labels=_labels(self.label))
        for device in devices:
            for label, value in self.samples(device):
                family.add_metric([device.id, label] if self.label else [device.id], value)
        return family


def _labels(label: str | None) -> list[str]:
    return ["device", label] if label else ["device"]


_READINGS = (
    _Reading(
        GaugeMetricFamily,
        "darkroom_device_state",
        "1 for the state that a device is in, 0 for the others.",
        lambda it: ((state, float(state == it.state)) for state in get_args(State)),
        "state",
    ),
    _Reading(
        GaugeMetricFamily,
        "darkroom_device_lanes",
        "Jobs under way on a device.",
        lambda it: [("", it.lanes)],
    ),
    _Reading(
        GaugeMetricFamily,
        "darkroom_device_model_resident",
        "1 for each model in the memory of a device.",
        lambda it: ((model, 1) for model in it.resident),
        "model",
    ),
    _Reading(
        GaugeMetricFamily,
        "darkroom_device_model_loading",
        "1 for each model on its way into the memory of a device.",
        lambda it: ((each.model, 1) for each in it.loading),
        "model",
    ),
    _Reading(
        GaugeMetricFamily,
        "darkroom_device_model_barred",
        "1 for each model that is not loaded on a device, since workers died while loading it.",
        lambda it: ((model, 1) for model in it.barred),
        "model",
    ),
    _Reading(
        GaugeMetricFamily,
        "darkroom_device_suspects",
        "Jobs in quarantine that run on a device.",
        lambda it: [("", it.suspects)],
    ),
    _Reading(
        CounterMetricFamily,
        "darkroom_device_images",
        "Images that a device has made.",
        lambda it: [("", it.images_done)],
    ),
    _Reading(
        CounterMetricFamily,
        "darkroom_device_busy_seconds",
        "Seconds that the passes of a device took.",
        lambda it: [("", it.busy_s)],
    ),
    _Reading(
        CounterMetricFamily,
        "darkroom_device_evictions",
        "Models given up for others.",
        lambda it: [("", it.evictions)],
    ),
    _Reading(
        CounterMetricFamily,
        "darkroom_device_worker_deaths",
        "Workers of a device that died; another was started each time.",
        lambda it: [("", it.deaths)],
    ),
)


def readings(fleet: FleetStatus) -> Iterator[Metric]:
    """The whole fleet at one moment."""
    for name, what, value in (
        ("darkroom_ready", "1 once every device has loaded what it should.", fleet.ready),
        ("darkroom_queue_images", "Images that wait or run.", fleet.queue.depth),
        ("darkroom_queue_waiting_images", "Those that no device has yet.", fleet.queue.waiting),
        (
            "darkroom_queue_suspect_images",
            "Those in quarantine: they were running when a worker died.",
            fleet.queue.suspects,
        ),
        (
            "darkroom_queue_predicted_wait_seconds",
            "Until all that was accepted should be finished.",
            fleet.queue.wait_s,
        ),
    ):
        yield GaugeMetricFamily(name, what, value)
    for reading in _READINGS:
        yield reading.read(fleet.devices)
    yield _passes(fleet.devices)


def _passes(devices: Iterable[DeviceStatus]) -> Metric:
    """As a histogram of rows: what a pass had on average follows from its sum."""
    family = HistogramMetricFamily(
        "darkroom_device_pass_rows", "Passes of a device, by their rows.", labels=["device"]
    )
    for device in devices:
        total = sum(rows * count for rows, count in device.passes.items())
        family.add_metric([device.id], list(_buckets(device.passes)), total)
    return family


def _buckets(passes: dict[int, int]) -> Iterator[tuple[str, float]]:
    for bound in ROWS:
        yield f"{bound}.0", sum(count for rows, count in passes.items() if rows <= bound)
    yield "+Inf", sum(passes.values())
