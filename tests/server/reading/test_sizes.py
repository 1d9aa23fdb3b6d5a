import pytest

from server import errors
from server.reading.sizes import FixedSize, FreeSize, ListedSize

FREE = FreeSize(
    shortest=16,
    longest=3840,
    multiple=16,
    fewest_pixels=655_360,
    most_pixels=8_294_400,
    steepest=3,
)
OPEN = FreeSize(shortest=64, longest=2048)


@pytest.mark.parametrize("text", ["64x64", "2048x2048", "1000x333", "64x2048"])
def test_open_sizes(text: str) -> None:
    width, height = text.split("x")
    assert OPEN.read("size", text) == (int(width), int(height))


@pytest.mark.parametrize("text", ["1024x1024", "1536x864", "3840x2160", "2160x3840", "1440x480"])
def test_free_sizes(text: str) -> None:
    width, height = text.split("x")
    assert FREE.read("size", text) == (int(width), int(height))


@pytest.mark.parametrize(
    ("rule", "text", "complaint"),
    [
        (OPEN, "0x0", "The shortest edge must be greater than or equal to 64."),
        (OPEN, "1x1", "The shortest edge must be greater than or equal to 64."),
        (OPEN, "63x64", "The shortest edge must be greater than or equal to 64."),
        (OPEN, "99999x99999", "The longest edge must be less than or equal to 2048."),
        (OPEN, "64x2049", "The longest edge must be less than or equal to 2048."),
        (FREE, "1x1", "Width and height must both be divisible by 16."),
        (FREE, "1024x1000", "Width and height must both be divisible by 16."),
        (FREE, "3856x1600", "The longest edge must be less than or equal to 3840."),
        (FREE, "3840x3840", "Requested resolution is above the current maximum pixel budget."),
        (FREE, "512x512", "Requested resolution is below the current minimum pixel budget."),
        (FREE, "3840x1264", "The longer edge must be at most 3 times the shorter one."),
    ],
)
def test_free_sizes_say_what_is_wrong(rule: FreeSize, text: str, complaint: str) -> None:
    with pytest.raises(errors.UnsuitableSize) as caught:
        rule.read("size", text)
    assert caught.value.message == f"Invalid size '{text}'. {complaint}"
    assert caught.value.param == "size"


@pytest.mark.parametrize(
    "text",
    ["1024", "abc", "", "x", "1024x", "x1024", "1024X1024", "1024x1024x3", "-64x64", "64.5x64",
     " 1024x1024", "1024x1024\n", "1e3x1e3", "١٠٢٤x١٠٢٤", "9" * 5000 + "x1"],
)  # fmt: skip
def test_nonsense_is_told_the_form(text: str) -> None:
    for rule in (OPEN, FREE):
        with pytest.raises(errors.UnsuitableSize, match="Expected WIDTHxHEIGHT, for example"):
            rule.read("size", text)
    with pytest.raises(errors.UnsupportedSize, match="^The size is not supported by this model.$"):
        FixedSize(("256x256",)).read("size", text)
    with pytest.raises(errors.InvalidValue, match="Supported values are: '256x256' and 'auto'."):
        ListedSize(("256x256", "auto")).read("size", text)


def test_auto() -> None:
    assert OPEN.read("size", "auto") is None
    assert ListedSize(("256x256", "auto")).read("size", "auto") is None


@pytest.mark.parametrize("rule", [OPEN, FixedSize(("256x256",)), ListedSize(("256x256",))])
def test_other_types(rule: FreeSize) -> None:
    with pytest.raises(errors.InvalidType):
        rule.read("size", 1024)
    with pytest.raises(errors.InvalidType):
        rule.read("size", [1024, 1024])
