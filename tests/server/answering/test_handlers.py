import logging
from typing import Any

import pytest
from starlette.testclient import TestClient

from pipelines.core import JobFailed
from server.config import Config
from tests.server.fakes import FakeFleet


def test_a_failed_job_is_one_line_in_the_log(
    generate: Any, fleet: FakeFleet, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.outcome = lambda job: JobFailed("no kernel image")
    with caplog.at_level(logging.ERROR):
        request_id = generate().headers["x-request-id"]
    assert caplog.messages == [f"{request_id}: JobFailed: no kernel image"]
    assert not caplog.records[0].exc_info


def test_a_disk_that_fails_is_logged_with_its_cause(
    generate: Any, config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    (config.data_dir / "images").rmdir()
    generate()
    assert "FileNotFoundError" in caplog.text


def test_what_a_client_did_wrong_is_not_in_the_error_log(
    generate: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        generate(n=0)
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/files", "GET, HEAD, POST, OPTIONS"),
        ("/v1/files/file-1", "GET, HEAD, DELETE, OPTIONS"),
        ("/images/img-1.png", "GET, HEAD, OPTIONS"),
        ("/v1/images/edits", "POST, OPTIONS"),
    ],
)
def test_a_method_that_is_not_supported_is_told_those_that_are(
    client: TestClient, path: str, allowed: str
) -> None:
    response = client.put(path)
    assert (response.status_code, response.headers["allow"]) == (405, allowed)
