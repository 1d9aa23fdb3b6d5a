"""What stays on a device and what is streamed, by bytes alone."""

import pytest

from pipelines.models.footprints import Component
from pipelines.models.plans import Offload, Quantize, plan, remedy

GB = 10**9


def component(size: float, largest: float, large: bool = False) -> Component:
    smaller = {"float8": size / 2, "int8": size / 2, "nf4": size / 4} if large else {}
    quantized = {kind: int(each * GB) for kind, each in smaller.items()}
    return Component(f"part of {size}", (), int(size * GB), int(largest * GB), quantized)


FLUX = {
    "vae": component(0.17, 0.01),
    "text_encoder": component(0.25, 0.08),
    "text_encoder_2": component(9.5, 0.26, large=True),
    "transformer": component(23.8, 0.11, large=True),
}


@pytest.mark.parametrize(
    ("budget", "way", "size", "fits"),
    [
        (80, "none", 33.72, True),
        (33.72, "none", 33.72, True),
        (33, "text", 24.99, True),
        (21.6, "group", 1.52, True),
        (1, "group", 1.52, False),
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


@pytest.mark.parametrize(
    ("budget", "able", "way", "size"),
    [
        (34, ("float8", "nf4"), "none", 33.72),
        (25, ("float8", "nf4"), "text", 24.99),
        (20, ("float8", "nf4"), "float8", 17.07),
        (15, ("float8", "nf4"), "float8+text", 13.09),
        (9, ("float8", "nf4"), "nf4", 8.745),
        (7.5, ("float8", "nf4"), "nf4+text", 7.14),
        (5, ("float8", "nf4"), "group", 1.52),
        (20, ("nf4",), "nf4", 8.745),
        (20, (), "group", 1.52),
    ],
)
def test_auto_stores_in_fewer_bits_rather_than_stream_the_denoiser(
    budget: float, able: tuple[str, ...], way: str, size: float
) -> None:
    found = plan("auto", FLUX, budget * GB, "auto", able)
    assert (found.way, found.fits, found.size / GB) == (way, True, pytest.approx(size))


def test_unless_it_is_asked_for_nothing_changes_the_images() -> None:
    for budget in range(1, 40):
        assert plan("auto", FLUX, budget * GB).quantization == "none"


@pytest.mark.parametrize("kind", ["float8", "int8", "nf4"])
def test_an_entry_may_insist_on_fewer_bits(kind: Quantize) -> None:
    found = plan("auto", FLUX, 80 * GB, kind, able=())
    large = {"transformer", "text_encoder_2"}
    assert {name for name, it in found.components.items() if it.quantization == kind} == large
    for name, it in found.components.items():
        assert (it.name == FLUX[name].name) == (name not in large), "nobody shares it whole"
    small = plan("auto", FLUX, 1 * GB, kind)
    assert (small.way, small.fits) == (f"{kind}+text", False)
    streamed = {name for name, it in small.components.items() if it.streamed}
    assert streamed == {"text_encoder", "text_encoder_2"}
    assert small.components["text_encoder_2"].quantization == "none", "what is streamed is whole"


@pytest.mark.parametrize(
    ("budget", "streams", "able", "says"),
    [
        (25, True, (), "`offload: text` with `quantization: none` would"),
        (20, True, ("float8",), "`offload: none` with `quantization: float8` would"),
        (20, True, (), "`offload: group` with `quantization: none` would"),
        (25, False, ("float8",), "`offload: none` with `quantization: float8` would"),
        (7, False, ("float8",), "nothing but more memory would"),
    ],
)
def test_what_does_not_fit_is_told_what_would_help(
    budget: float, streams: bool, able: tuple[str, ...], says: str
) -> None:
    assert remedy(FLUX, budget * GB, streams, able).startswith(says)
