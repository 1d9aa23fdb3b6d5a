"""One device as the fleet sees it, without a process: what its worker says decides."""

from dataclasses import replace
from typing import Any

import pytest

from pipelines.messages import State
from server.fleet.device import SET_ASIDE_AFTER, Device, devices_of

STATE = State(resident=[], loading={}, lanes=0, ready=True, too_large=["large"])


@pytest.fixture
def device() -> Device:
    device = Device("cpu")
    process: Any = object()
    device.launched(process)
    return device


def test_it_takes_jobs_once_it_has_said_what_does_not_fit(device: Device) -> None:
    device.hello("cpu")
    assert not device.open
    device.says(STATE, 0.0)
    assert device.open
    assert device.suits("small") and not device.suits("large")
    device.bury()
    assert not device.open
    assert device.suits("large"), "what follows may have more room, and says so itself"


def test_nothing_is_kept_for_a_device_that_is_set_aside(device: Device) -> None:
    for deaths in range(SET_ASIDE_AFTER):
        assert device.suits("small"), deaths
        device.bury()
    assert not device.suits("small")


def test_what_was_loaded_and_in_how_many_seconds(device: Device) -> None:
    device.says(replace(STATE, loading={"a": 0.0}), 10.0)
    device.says(replace(STATE, loading={"a": 0.5}), 11.0)
    assert device.says(replace(STATE, resident=["a"]), 13.0) == {"a": 3.0}
    assert device.says(replace(STATE, resident=["a"]), 14.0) == {}


def test_several_cpu_workers_share_the_host() -> None:
    one, other, gpu = devices_of(["cpu", "cpu", "cuda:1"])
    assert (one.id, other.id, gpu.id) == ("cpu:0", "cpu:1", "cuda:1")
    assert (one.share, other.share, gpu.share) == (0.5, 0.5, 1.0)
    assert one.threads == other.threads and gpu.threads is None
