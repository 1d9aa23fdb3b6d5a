"""One device as the fleet sees it, without a process: what its worker says decides."""

from dataclasses import replace
from typing import Any

import pytest

from pipelines.core import Image, Preview
from pipelines.messages import State
from server.fleet.device import ALONE_S, SET_ASIDE_AFTER, SET_ASIDE_S, Device, devices_of
from server.fleet.process import Death
from server.fleet.queue import Ticket
from tests.server.fleet.test_queue import JOB

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
    device.bury(Death())
    assert not device.open
    assert device.suits("large"), "what follows may have more room, and says so itself"


def test_nothing_is_kept_for_a_device_that_is_set_aside(device: Device) -> None:
    for deaths in range(SET_ASIDE_AFTER):
        assert device.suits("small"), deaths
        device.bury(Death())
    assert not device.suits("small")


def test_a_model_that_workers_die_of_loading_is_barred_instead_of_the_device(
    device: Device,
) -> None:
    device.says(STATE, 0.0)
    for _ in range(SET_ASIDE_AFTER):
        assert device.suits("small")
        device.bury(Death(-9, loading="small"))
    assert not device.set_aside
    assert device.suits("other") and not device.suits("small")
    assert device.may_suit_later("small") and not device.may_suit_later("large")
    assert device.status().barred == ["small"]


def test_deaths_at_loading_count_in_a_row_only(device: Device) -> None:
    for _ in range(SET_ASIDE_AFTER):
        device.bury(Death(-9, loading="small"))
        device.says(replace(STATE, resident=["small"]), 0.0)
    assert device.suits("small") or device.set_aside
    assert device.barred == set()


def test_a_disabled_device_is_hopeless_once_a_worker_died_before_it_came_up(
    device: Device,
) -> None:
    process: Any = object()
    for _ in range(SET_ASIDE_AFTER):
        device.launched(process)
        device.says(STATE, 0.0)
        device.bury(Death())
    assert device.set_aside and not device.is_hopeless
    assert device.may_suit_later("small") and not device.may_suit_later("large")
    device.launched(process)
    device.bury(Death())
    assert device.is_hopeless


def test_a_disabled_device_is_tried_again_sooner_if_it_is_alone(device: Device) -> None:
    waits = list[float]()
    for _ in range(3 * SET_ASIDE_AFTER):
        device.bury(Death())
        waits.append(device.backoff_s(alone=True))
    assert waits[:3] == [0.1, 0.2, 0.4] and waits == sorted(waits)
    assert waits[-1] == ALONE_S
    assert device.backoff_s() == SET_ASIDE_S


def test_a_job_that_runs_again_shows_each_preview_once(device: Device) -> None:
    shown: list[int] = []
    future: Any = type("Future", (), {"done": lambda self: False})()
    ticket = Ticket(JOB, future, 0.0, 1.0, lambda job, preview: shown.append(preview.index))
    device.tickets[JOB.id] = ticket
    for index in (0, 1, 0, 1, 2):
        device.show(JOB.id, Preview(index, Image(1, 1, b"123")))
    assert shown == [0, 1, 2]


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
