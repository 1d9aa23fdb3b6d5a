"""Requests as applications send them that are no packages, and what each needs from the answer."""

import base64
import json
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

PNG = b"\x89PNG"
KEY = {"authorization": "Bearer anything"}


@pytest.fixture
def ask(url: str) -> Any:
    def ask(body: dict[str, Any], **headers: str) -> httpx.Response:
        return httpx.post(f"{url}/v1/images/generations", json=body, headers=KEY | headers)

    return ask


def is_png(text: str) -> bool:
    return base64.b64decode(text, validate=True)[:4] == PNG


@pytest.mark.parametrize("model", ["dall-e-2", "flux-schnell"])
def test_open_webui(ask: Any, model: str) -> None:
    """It fetches `url` where there is one, and would be stopped by its own guard: so none."""
    body = {"model": model, "prompt": "a cat", "n": 1, "size": "512x512"}
    answer = ask(body | {"response_format": "b64_json"})
    (image,) = answer.json()["data"]
    assert "url" not in image
    assert is_png(image["b64_json"])
    assert answer.headers["content-type"] == "application/json"


def test_open_webui_asks_a_gpt_image_model_for_nothing_more(ask: Any) -> None:
    body = {"model": "gpt-image-1", "prompt": "a cat", "n": 1, "size": "1024x1024"}
    (image,) = ask(body).json()["data"]
    assert is_png(image["b64_json"])


def test_open_webui_tests_the_connection_with_the_list_of_models(url: str) -> None:
    answer = httpx.get(f"{url}/v1/models", headers=KEY)
    assert all(model["id"] for model in answer.json()["data"])


def test_librechats_dall_e_tool(ask: Any) -> None:
    """It takes the kind of image from the path of the url, and fetches it without a key."""
    answer = ask(
        {"model": "dall-e-3", "quality": "standard", "style": "vivid", "size": "1024x1024",
         "prompt": "a cat", "n": 1}
    )  # fmt: skip
    image = answer.json()["data"][0]
    assert PurePosixPath(urlsplit(image["url"]).path).suffix == ".png"
    fetched = httpx.get(image["url"])
    assert fetched.content[:4] == PNG
    assert fetched.headers["content-type"] == "image/png"


def test_librechats_gpt_image_tool(ask: Any) -> None:
    answer = ask(
        {"model": "gpt-image-1", "prompt": "a cat", "n": 1, "background": "auto",
         "output_format": "webp", "output_compression": 90, "quality": "auto", "size": "auto"}
    )  # fmt: skip
    data = base64.b64decode(answer.json()["data"][0]["b64_json"])
    assert data[:4] == b"RIFF"


@pytest.mark.parametrize("model", ["dall-e-2", "dall-e-3", "gpt-image-1"])
def test_n8n(ask: Any, model: str) -> None:
    body: dict[str, Any] = {"prompt": "a cat", "model": model, "n": 1, "size": "1024x1024"}
    if model == "gpt-image-1":
        body["quality"] = "medium"
    else:
        body |= {"response_format": "b64_json", "quality": "standard"}
    assert is_png(ask(body).json()["data"][0]["b64_json"])


def test_the_langchain_of_node(ask: Any) -> None:
    """It asks for each image by itself, and takes the key that it asked for."""
    for asked in ("url", "b64_json"):
        body = {"model": "dall-e-3", "prompt": "a cat", "n": 1, "size": "1024x1024",
                "quality": "standard", "style": "vivid", "response_format": asked}  # fmt: skip
        assert asked in ask(body).json()["data"][0]


def test_an_sdk_that_knows_nothing_of_its_server_sends_headers_of_its_own(ask: Any) -> None:
    answer = ask(
        {"model": "gpt-image-1", "prompt": "a cat"},
        **{"openai-organization": "org-1", "openai-project": "proj_1", "accept": "*/*",
           "x-stainless-retry-count": "1", "user-agent": "OpenAI/JS 7.57.0"},
    )  # fmt: skip
    assert answer.status_code == 200


def test_a_stream_read_by_a_browsers_rules(url: str) -> None:
    """Lines end with LF, an empty line ends an event, and what begins with a colon is nothing."""
    body = {"model": "gpt-image-1", "prompt": "a cat", "stream": True, "partial_images": 1}
    kinds, data = [], []
    with httpx.stream("POST", f"{url}/v1/images/generations", json=body) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        for line in answer.iter_lines():
            field, _, value = line.partition(": ")
            if field == "event":
                kinds.append(value)
            elif field == "data":
                data.append(json.loads(value))
    assert kinds == ["image_generation.partial_image", "image_generation.completed"]
    assert [each["type"] for each in data] == kinds
    assert all(is_png(each["b64_json"]) for each in data)
