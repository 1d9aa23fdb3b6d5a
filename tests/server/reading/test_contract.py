from typing import Any

import pytest

from pipelines.registry import Registry
from server import errors
from server.reading.contract import ImageRequest, read_generation


@pytest.fixture
def read(registry: Registry) -> Any:
    def read(**body: Any) -> ImageRequest:
        return read_generation({"prompt": "a cat", **body}, registry)

    return read


def test_defaults(read: Any) -> None:
    request = read()
    assert (request.model, request.n, request.level) == ("demo", 1, "medium")
    assert request.delivery.size == (1024, 1024)
    assert request.delivery.response_format == "url"
    assert request.extensions == {}
    assert request.ignored == ()
    assert not request.profile.revises  # no model means dall-e-2


def test_null_is_omission(read: Any) -> None:
    names = ["model", "n", "size", "quality", "response_format", "style", "user", "seed", "stream"]
    assert read(**dict.fromkeys(names)) == read()


@pytest.mark.parametrize(
    ("quality", "level"),
    [("low", "low"), ("medium", "medium"), ("high", "high"), ("standard", "medium"),
     ("auto", "medium"), ("hd", "high"), ("xhigh", "high"), ("max", "high")],
)  # fmt: skip
def test_levels(read: Any, quality: str, level: str) -> None:
    assert read(model="flux-schnell", quality=quality).level == level


@pytest.mark.parametrize(
    ("model", "response_format"),
    [
        ("dall-e-2", "url"),
        ("dall-e-3", "url"),
        ("flux-schnell", "url"),
        ("gpt-image-1", "b64_json"),
    ],
)
def test_default_response_format(read: Any, model: str, response_format: str) -> None:
    assert read(model=model).delivery.response_format == response_format


def test_the_first_fault_is_told_in_the_order_of_the_contract(registry: Registry) -> None:
    body: dict[str, Any] = {
        "size": 1,
        "output_compression": 101,
        "quality": "ultra",
        "n": 0,
        "unheard": 1,
        "model": "nobody",
    }
    told = []
    repairs: list[dict[str, Any]] = [
        {"model": "gpt-image-1"}, {"unheard": None}, {"prompt": ""}, {"prompt": "a"}, {"n": 1},
        {"quality": "low"}, {"output_compression": 100}, {"size": "auto"},
    ]  # fmt: skip
    for repair in repairs:
        with pytest.raises(errors.InvalidRequest) as caught:
            read_generation(body, registry)
        told.append(caught.value.param)
        body |= repair
    assert told == [
        "model",
        "unheard",
        "prompt",
        "prompt",
        "n",
        "quality",
        "output_compression",
        "size",
    ]
    read_generation(body, registry)


def test_ignored_parameters_are_named(read: Any) -> None:
    request = read(model="dall-e-3", style="vivid", user={"id": 1}, quality="hd")
    assert request.ignored == ("style", "user")
    assert read(model="gpt-image-1", safety_identifier="s").ignored == ()


def test_what_is_not_installed_says_how_to_get_it(read: Any) -> None:
    with pytest.raises(errors.ModelNotInstalled, match="somebody/absent.*--models-dir"):
        read(model="only-absent")


def test_extensions(read: Any) -> None:
    asked = {"seed": 0, "steps": 500, "guidance_scale": 3, "negative_prompt": ""}
    assert read(**asked).extensions == asked
