import pytest
from starlette.testclient import TestClient

from tests.server.checks import assert_common_headers, assert_error_shape


def test_every_name_is_listed(client: TestClient) -> None:
    response = client.get("/v1/models")
    assert_common_headers(response)
    body = response.json()
    assert list(body) == ["object", "data"]
    assert body["object"] == "list"
    assert [model["id"] for model in body["data"]] == [
        "demo", "absent", "dall-e-2", "dall-e-3", "gpt-image-1", "gpt-image-2",
        "gpt-image-2.5-flare", "flux-schnell", "only-absent",
    ]  # fmt: skip
    for model in body["data"]:
        assert list(model) == ["id", "object", "created", "owned_by"]
        assert model["object"] == "model"
        assert isinstance(model["created"], int)


def test_one_name(client: TestClient) -> None:
    listed = {model["id"]: model for model in client.get("/v1/models").json()["data"]}
    assert client.get("/v1/models/dall-e-3").json() == listed["dall-e-3"]


@pytest.mark.parametrize("name", ["gpt-5", "owner/model", "a/b/c", "..%2Fdemo", "%F0%9F%98%80"])
def test_unknown_names(client: TestClient, name: str) -> None:
    response = client.get(f"/v1/models/{name}")
    error = assert_error_shape(response)
    assert (response.status_code, error["code"]) == (404, "model_not_found")
    assert error["param"] == "model"
