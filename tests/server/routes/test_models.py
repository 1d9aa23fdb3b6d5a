import pytest
from starlette.testclient import TestClient

from tests.server.checks import assert_common_headers, assert_error_shape


def test_every_name_is_listed(client: TestClient) -> None:
    response = client.get("/v1/models")
    assert_common_headers(response)
    body = response.json()
    assert list(body) == ["object", "data", "first_id", "last_id", "has_more"]
    assert (body["object"], body["has_more"]) == ("list", False)
    assert (body["first_id"], body["last_id"]) == ("demo", "only-absent")
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


def ids(client: TestClient, **query: object) -> list[str]:
    page = client.get("/v1/models", params=query).json()  # type: ignore[arg-type]
    return [model["id"] for model in page["data"]]


def test_pages_of_names(client: TestClient) -> None:
    names = ids(client)
    pages, after = [], {}
    while page := ids(client, limit=4, **after):
        pages.append(page)
        after = {"after": page[-1]}
    assert [len(page) for page in pages] == [4, 4, 1]
    assert [name for page in pages for name in page] == names
    assert ids(client, order="desc") == names[::-1]
    assert ids(client, order="desc", after=names[1]) == names[:1]
    error = assert_error_shape(client.get("/v1/models?after=nobody"))
    assert (error["param"], error["code"]) == ("after", "invalid_value")


@pytest.mark.parametrize("name", ["gpt-5", "owner/model", "a/b/c", "..%2Fdemo", "%F0%9F%98%80"])
def test_unknown_names(client: TestClient, name: str) -> None:
    response = client.get(f"/v1/models/{name}")
    error = assert_error_shape(response)
    assert (response.status_code, error["code"]) == (404, "model_not_found")
    assert error["param"] == "model"
