"""What every error answer has in common."""

import json
import re
from typing import Any


def assert_error_shape(response: Any) -> dict[str, Any]:
    """The contract's envelope, with all four keys, and the headers of every answer; the error."""
    assert response.headers["content-type"] == "application/json"
    assert_common_headers(response)
    body = response.json()
    assert list(body) == ["error"]
    error: dict[str, Any] = body["error"]
    names = ["message", "type", "param", "code"]
    blocked = error.get("code") == "moderation_blocked"
    assert list(error) == [*names, *(["moderation_details"] if blocked else [])]
    assert isinstance(error["message"], str) and error["message"]
    assert isinstance(error["type"], str) and error["type"]
    assert error["param"] is None or isinstance(error["param"], str)
    assert error["code"] is None or isinstance(error["code"], str)
    assert "Traceback" not in error["message"]
    return error


def assert_common_headers(response: Any) -> None:
    """The headers that no answer lacks."""
    assert re.fullmatch(r"req_[0-9a-f]{32}", response.headers["x-request-id"])
    assert response.headers["openai-version"] == "2020-10-01"
    assert response.headers["openai-processing-ms"].isdecimal()
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "X-Request-ID" in response.headers["access-control-expose-headers"]


def events_of(text: str) -> list[tuple[str, dict[str, Any]]]:
    """A whole event stream, read strictly: (event, data) of each frame; comments are left out."""
    assert text.endswith("\n\n")
    frames = [frame for frame in text[:-2].split("\n\n") if not frame.startswith(": ")]
    pairs = [re.fullmatch(r"event: (\S+)\ndata: (\{.*\})", frame) for frame in frames]
    return [(pair[1], json.loads(pair[2])) for pair in pairs if pair]
