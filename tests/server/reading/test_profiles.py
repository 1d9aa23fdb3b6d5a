import pytest

from server.reading.endpoints import GENERATIONS
from server.reading.profiles import (
    DALL_E_2,
    DALL_E_3,
    EXTENSIONS,
    GPT_IMAGE_1,
    GPT_IMAGE_2,
    GPT_IMAGE_2_5,
    OPEN,
    Profile,
)

ALL = [DALL_E_2, DALL_E_3, GPT_IMAGE_1, GPT_IMAGE_2, GPT_IMAGE_2_5, OPEN]


@pytest.mark.parametrize(
    ("name", "profile"),
    [
        ("dall-e-2", DALL_E_2),
        ("dall-e-3", DALL_E_3),
        ("gpt-image-1", GPT_IMAGE_1),
        ("gpt-image-1-mini", GPT_IMAGE_1),
        ("gpt-image-1.5", GPT_IMAGE_1),
        ("chatgpt-image-latest", GPT_IMAGE_1),
        ("gpt-image-2", GPT_IMAGE_2),
        ("gpt-image-2-2026-04-21", GPT_IMAGE_2),
        ("gpt-image-2.5-sunburst", GPT_IMAGE_2_5),
        ("gpt-image-2.6-flare", GPT_IMAGE_2_5),
        ("gpt-image-10", GPT_IMAGE_2_5),
        ("flux-1.1-pro", OPEN),
        ("openai/gpt-image-2-2026-04-21", GPT_IMAGE_2),
        ("dall-e-3-2024-01-01", DALL_E_3),
        ("dall-e-4", DALL_E_3),
        ("dall-e-33", DALL_E_3),
        ("dall-e-mini", OPEN),
        ("my\nmodel", OPEN),
        ("", OPEN),
    ],
)
def test_every_name_has_a_profile(name: str, profile: Profile) -> None:
    assert GENERATIONS.profile(name) is profile


@pytest.mark.parametrize("profile", ALL)
def test_the_order_of_checking(profile: Profile) -> None:
    names = list(profile.parameters)
    assert names[:4] == ["model", "prompt", "n", "quality"]
    if "output_compression" in names:
        assert names.index("output_compression") < names.index("size")


@pytest.mark.parametrize("profile", ALL)
def test_extensions_are_taken_everywhere(profile: Profile) -> None:
    assert EXTENSIONS.keys() <= profile.parameters.keys()


@pytest.mark.parametrize("profile", ALL)
def test_only_what_is_accepted_can_be_ignored(profile: Profile) -> None:
    assert profile.ignored <= profile.parameters.keys()


def test_what_the_original_refuses() -> None:
    for profile in (GPT_IMAGE_1, GPT_IMAGE_2, GPT_IMAGE_2_5):
        assert "style" not in profile.parameters
        assert {"response_format", *EXTENSIONS} <= profile.beyond
    for profile in (DALL_E_2, DALL_E_3):
        assert not {"output_format", "background", "moderation"} & profile.parameters.keys()
