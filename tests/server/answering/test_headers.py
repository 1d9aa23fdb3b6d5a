import logging
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from server.answering.headers import Envelope
from tests.server.checks import assert_common_headers, assert_error_shape


def test_an_unforeseen_error_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("the secret cause")

    with caplog.at_level(logging.ERROR):
        response = TestClient(Envelope(broken)).get("/somewhere")
    error = assert_error_shape(response)
    assert response.status_code == 500
    assert (error["type"], error["param"], error["code"]) == ("server_error", None, None)
    assert "secret" not in response.text
    assert "the secret cause" in caplog.text
    assert response.headers["x-request-id"] in caplog.text


def test_requests_are_numbered() -> None:
    client = TestClient(Envelope(PlainTextResponse("ok")))
    answers = [client.get("/") for _ in range(3)]
    for response in answers:
        assert_common_headers(response)
    assert len({response.headers["x-request-id"] for response in answers}) == 3
