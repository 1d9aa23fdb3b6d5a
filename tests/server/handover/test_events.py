import json
from typing import Any

import pytest

from pipelines.core import JobFailed
from pipelines.registry import Registry
from server import answers, errors
from server.handover import events
from server.handover.responses import Result
from server.reading.contract import ImageRequest, read_generation
from tests.server.checks import events_of

DESCRIPTION = ["size", "quality", "background", "output_format"]
RESULT = Result(7, "a black cat", b64_json="eA==")


@pytest.fixture
def wanted(registry: Registry) -> Any:
    def wanted(**body: Any) -> ImageRequest:
        body = {"prompt": "a cat", "model": "gpt-image-1", "stream": True, **body}
        return read_generation(body, registry)

    return wanted


def only(frame: bytes) -> tuple[str, dict[str, Any]]:
    (event,) = events_of(frame.decode())
    return event


def test_a_partial_image_in_the_order_and_words_of_the_contract(wanted: Any) -> None:
    name, data = only(events.partial_image(wanted(), 0, 2, b"\xff\xfe\xfd\xfc", 1700000000))
    assert name == data["type"] == "image_generation.partial_image"
    assert list(data) == ["type", "partial_image_index", "b64_json", "created_at", *DESCRIPTION]
    assert (data["partial_image_index"], data["created_at"]) == (2, 1700000000)
    assert data["b64_json"] == "//79/A=="
    told = [data[name] for name in DESCRIPTION]
    assert told == ["1024x1024", "medium", "opaque", "png"]  # resolved, never auto


def test_a_completed_image(wanted: Any) -> None:
    asked = wanted(size="1536x1024", quality="low", output_format="webp")
    name, data = only(events.completed(asked, 0, RESULT, 1))
    assert name == data["type"] == "image_generation.completed"
    assert list(data) == ["type", "b64_json", "created_at", "usage", *DESCRIPTION]
    assert [data[name] for name in DESCRIPTION] == ["1536x1024", "low", "opaque", "webp"]
    assert data["usage"]["output_tokens"] == 408
    assert data["b64_json"] == "eA=="


def test_of_several_images_each_has_its_index_and_its_own_usage(wanted: Any) -> None:
    for index in range(2):
        _, part = only(events.partial_image(wanted(n=2), index, 0, b"x", 1))
        _, whole = only(events.completed(wanted(n=2), index, RESULT, 1))
        assert part["index"] == whole["index"] == index
        assert whole["usage"]["output_tokens"] == 1056


def test_the_seed_is_told_when_an_extension_was_used(wanted: Any) -> None:
    assert only(events.completed(wanted(steps=3), 0, RESULT, 1))[1]["seed"] == 7
    assert "seed" not in only(events.completed(wanted(), 0, RESULT, 1))[1]


def test_the_prompt_that_the_model_was_given_is_told_where_it_was_asked_for(wanted: Any) -> None:
    told = only(events.completed(wanted(prompt_rewrite=True), 0, RESULT, 1))[1]
    assert told["revised_prompt"] == "a black cat"
    assert "revised_prompt" not in only(events.completed(wanted(), 0, RESULT, 1))[1]


def test_the_safety_identifier_comes_back_where_the_original_has_it(wanted: Any) -> None:
    asked = {"safety_identifier": "u7"}
    assert only(events.completed(wanted(**asked), 0, RESULT, 1))[1]["safety_identifier"] == "u7"
    elsewhere = wanted(model="flux-schnell", **asked)
    assert "safety_identifier" not in only(events.completed(elsewhere, 0, RESULT, 1))[1]


def test_data_is_one_line_whatever_it_holds(wanted: Any) -> None:
    frame = events.completed(wanted(safety_identifier="a\n\nevent: x\r\n\u2028"), 0, RESULT, 1)
    assert only(frame)[1]["safety_identifier"] == "a\n\nevent: x\r\n\u2028"
    assert frame.count(b"\n") == 3 and b"\r" not in frame


@pytest.mark.parametrize("error", [JobFailed("/root/x"), errors.Draining(), RuntimeError("secret")])
def test_an_error_is_what_the_table_says(error: Exception) -> None:
    name, data = only(events.failed(error))
    assert name == data["type"] == "error"
    assert set(data["error"]) == {"message", "type", "param", "code"}
    row = answers.answer(error)
    assert (data["error"]["type"], data["error"]["code"]) == (row.type, row.code)
    assert "root" not in json.dumps(data) and "secret" not in json.dumps(data)


def test_a_comment_is_no_event() -> None:
    assert events_of(events.COMMENT.decode()) == []
