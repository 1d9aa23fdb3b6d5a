import pytest

from pipelines.model_names import PUBLISHED, known_name

OLD = ["dall-e-2", "dall-e-3", "gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5", "gpt-image-2",
       "chatgpt-image-latest", "flux-dev"]  # fmt: skip
NEW = [*OLD, "gpt-image-2.5-flare", "gpt-image-2.5-sunburst", "gpt-image-mine"]


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_every_published_name_stands_for_a_known_one(name: str) -> None:
    assert known_name(name, OLD) in OLD


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("gpt-image-1", "gpt-image-1"),
        ("gpt-image-1-2025-04-23", "gpt-image-1"),
        ("gpt-image-1.5-2025-12-16", "gpt-image-1.5"),
        ("gpt-image-2-2026-04-21", "gpt-image-2"),
        ("gpt-image-2.6-flare-2027-01-01", "gpt-image-2"),
        ("gpt-image-3-mini", "gpt-image-2"),
        ("gpt-image-10", "gpt-image-2"),
        ("gpt-image-latest", "gpt-image-2"),
        ("chatgpt-image-2", "chatgpt-image-latest"),
        ("dall-e-4", "dall-e-3"),
        ("dall-e-3-2024-01-01", "dall-e-3"),
        ("openai/gpt-image-1", "gpt-image-1"),
        ("openai/gpt-image-2.6-flare", "gpt-image-2"),
        ("openai/flux-dev", "flux-dev"),
        ("flux-dev-2026-01-01", "flux-dev"),
    ],
)
def test_a_name_stands_for_a_known_one(name: str, known: str) -> None:
    assert known_name(name, OLD) == known


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("gpt-image-2.5-flare-2026-09-08", "gpt-image-2.5-flare"),
        ("gpt-image-2.6-flare", "gpt-image-2.5-flare"),
        ("gpt-image-2.6-sunburst", "gpt-image-2.5-sunburst"),
        ("gpt-image-mine", "gpt-image-mine"),
    ],
)
def test_a_newer_name_stands_for_the_newest_of_its_variant(name: str, known: str) -> None:
    assert known_name(name, NEW) == known


@pytest.mark.parametrize(
    "name",
    ["gpt-5", "gpt-image-1-mni", "gpt-image-1.2", "gpt-image-foo", "gpt-image-", "dall-e-1",
     "dalle-3", "dall-e-mini", "openai/", "openai/openai/gpt-image-1", "azure/gpt-image-1",
     "GPT-IMAGE-1", "", "gpt-image-2026-04-21", "gpt-image-2 ", "gpt-image-٣"],
)  # fmt: skip
def test_other_names_stand_for_none(name: str) -> None:
    assert known_name(name, OLD) is None


def test_a_line_of_which_nothing_is_known_has_no_newest_name() -> None:
    assert known_name("gpt-image-2.6-flare", ["flux-dev", "gpt-image-mine"]) is None
