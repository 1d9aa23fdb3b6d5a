"""What stays on a device and what is streamed, by bytes alone."""

import pytest

from pipelines.footprints import Component
from pipelines.plans import Offload, plan

GB = 10**9


def component(size: float, largest: float) -> Component:
    return Component(f"part of {size}", (), int(size * GB), int(largest * GB))


FLUX = {
    "vae": component(0.17, 0.01),
    "text_encoder": component(0.25, 0.08),
    "text_encoder_2": component(9.5, 0.26),
    "transformer": component(23.8, 0.11),
}


@pytest.mark.parametrize(
    ("budget", "way", "size", "fits"),
    [
        (80, "none", 33.72, True),
        (33.72, "none", 33.72, True),
        (33, "text", 24.65, True),
        (21.6, "group", 1.07, True),
        (1, "group", 1.07, False),
    ],
)
def test_auto_is_the_fastest_way_that_fits(
    budget: float, way: str, size: float, fits: bool
) -> None:
    found = plan("auto", FLUX, budget * GB)
    assert (found.way, found.fits, found.size / GB) == (way, fits, pytest.approx(size))


@pytest.mark.parametrize(
    ("way", "streamed"),
    [
        ("none", set()),
        ("text", {"text_encoder", "text_encoder_2"}),
        ("group", {"text_encoder", "text_encoder_2", "transformer"}),
    ],
)
def test_an_entry_may_insist(way: Offload, streamed: set[str]) -> None:
    found = plan(way, FLUX, 1 * GB)
    assert {name for name, it in found.components.items() if it.streamed} == streamed
    assert found.way == way and not found.fits
    for name, it in found.components.items():
        assert (it.name == FLUX[name].name) == (name not in streamed), "nobody shares it whole"


def test_what_is_small_is_not_counted_for_more() -> None:
    one_layer = {"text_encoder": component(0.1, 0.09)}
    assert plan("text", one_layer, 1 * GB).size == 0.1 * GB
