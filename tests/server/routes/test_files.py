"""`/v1/files`: pictures sent ahead."""

import base64
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient

from pipelines.registry import Registry
from server.app import create_app
from server.config import Config
from tests.server.checks import assert_error_shape
from tests.server.fakes import FakeFleet
from tests.server.pictures import file_of, noise, opened

PATH = "/v1/files"
PLAIN = file_of(noise())


def send(client: TestClient, name: str = "a.png", **texts: str) -> Any:
    data = {"purpose": "vision"} | texts
    return client.post(PATH, files={"file": (name, PLAIN, "text/plain")}, data=data)


def test_a_file_is_kept_listed_handed_out_and_deleted(client: TestClient) -> None:
    sent = send(client, "日本.png").json()
    assert list(sent) == [
        "id", "object", "bytes", "created_at", "expires_at", "filename", "purpose", "status",
    ]  # fmt: skip
    assert (sent["object"], sent["bytes"], sent["filename"]) == ("file", len(PLAIN), "日本.png")
    assert sent["expires_at"] - sent["created_at"] == 3600
    other = send(client).json()
    listed = client.get(PATH).json()
    assert listed["object"] == "list"
    assert {it["id"] for it in listed["data"]} == {sent["id"], other["id"]}
    assert client.get(f"{PATH}/{sent['id']}").json() == sent
    content = client.get(f"{PATH}/{sent['id']}/content")
    assert (content.content, content.headers["content-type"]) == (PLAIN, "image/png")
    deleted = client.delete(f"{PATH}/{sent['id']}")
    assert deleted.json() == {"id": sent["id"], "object": "file", "deleted": True}
    for answer in (
        client.get(f"{PATH}/{sent['id']}"),
        client.get(f"{PATH}/{sent['id']}/content"),
        client.delete(f"{PATH}/{sent['id']}"),
    ):
        error = assert_error_shape(answer)
        assert (answer.status_code, error["code"]) == (404, "file_not_found")
        assert error["message"] == f"No such File object: {sent['id']}"


def test_an_edit_can_point_to_it(client: TestClient, fleet: FakeFleet) -> None:
    id = send(client).json()["id"]
    body = {"model": "flux-schnell", "prompt": "a", "images": [{"file_id": id}]}
    response = client.post("/v1/images/edits", json=body)
    (image,) = response.json()["data"]
    assert opened(base64.b64decode(image["b64_json"])).shape == (64, 96, 3)
    assert fleet.jobs[0].source


def test_what_expires_sooner_is_named(client: TestClient) -> None:
    response = send(client, **{"expires_after[anchor]": "created_at"})
    assert response.headers["x-darkroom-ignored"] == "expires_after[anchor]"


@pytest.mark.parametrize(
    ("files", "texts", "param", "code"),
    [
        ({"file": PLAIN}, {}, "purpose", "missing_required_parameter"),
        ({"other": PLAIN}, {"purpose": "vision"}, "other", "unknown_parameter"),
        ({"a": (None, "b")}, {"purpose": "vision"}, "a", "unknown_parameter"),
        ({"purpose": (None, "vision")}, {}, "file", "missing_required_parameter"),
        ({"file": PLAIN}, {"purpose": "batch"}, "purpose", "invalid_value"),
        ({"file": b"hello"}, {"purpose": "vision"}, "file", "unsupported_file_mimetype"),
    ],
)
def test_bad_input(client: TestClient, files: Any, texts: Any, param: str, code: str) -> None:
    response = client.post(PATH, files=files, data=texts)
    error = assert_error_shape(response)
    assert (response.status_code, error["param"], error["code"]) == (400, param, code)
    assert client.get(PATH).json()["data"] == []


@pytest.fixture
def shared(config: Config, registry: Registry) -> Iterator[TestClient]:
    keys = config.data_dir.parent / "keys"
    keys.write_text("alice:one\nbob:two\n")
    app = create_app(replace(config, api_keys=keys), registry, FakeFleet())
    with TestClient(app) as client:
        yield client


def test_a_file_is_its_owners_alone(shared: TestClient) -> None:
    alice, bob = ({"authorization": f"Bearer {key}"} for key in ("one", "two"))
    files, data = {"file": PLAIN}, {"purpose": "vision"}
    id = shared.post(PATH, files=files, data=data, headers=alice).json()["id"]
    assert shared.get(f"{PATH}/{id}", headers=alice).status_code == 200
    assert shared.get(PATH, headers=bob).json()["data"] == []
    for path in (f"{PATH}/{id}", f"{PATH}/{id}/content"):
        assert shared.get(path, headers=bob).status_code == 404
        assert shared.get(path).status_code == 401
    assert shared.delete(f"{PATH}/{id}", headers=bob).status_code == 404
    body = {"model": "flux-schnell", "prompt": "a", "images": [{"file_id": id}]}
    for headers, status in ((bob, 400), (alice, 200)):
        assert shared.post("/v1/images/edits", json=body, headers=headers).status_code == status


@pytest.mark.parametrize("id", ["..%2Flink.key", "file-x", "%00", "x" * 5000])
def test_ids_that_are_none(client: TestClient, id: str) -> None:
    assert client.get(f"{PATH}/{id}").status_code == 404


def page(client: TestClient, **query: Any) -> Any:
    return client.get(PATH, params=query).json()


def test_a_list_has_pages(client: TestClient) -> None:
    assert page(client) == {
        "object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False,
    }  # fmt: skip
    sent = [send(client, f"{index}.png").json()["id"] for index in range(5)]
    whole = page(client)
    newest_first = [it["id"] for it in whole["data"]]
    assert set(newest_first) == set(sent)
    assert (whole["has_more"], whole["last_id"]) == (False, newest_first[-1])
    first = page(client, limit=2)
    assert [it["id"] for it in first["data"]] == newest_first[:2]
    assert (first["first_id"], first["last_id"]) == tuple(newest_first[:2])
    assert first["has_more"]
    rest = page(client, limit=3, after=first["last_id"])
    assert [it["id"] for it in rest["data"]] == newest_first[2:]
    assert not rest["has_more"], "the page is full, and the last one"
    upwards = page(client, order="asc", after=newest_first[2])
    assert [it["id"] for it in upwards["data"]] == newest_first[1::-1]
    assert page(client, purpose="vision") == whole
    assert page(client, purpose="batch")["data"] == []


def test_a_client_may_delete_what_it_lists(client: TestClient) -> None:
    for _ in range(5):
        send(client)
    query: dict[str, Any] = {"limit": 2}
    deleted = 0
    while files := page(client, **query)["data"]:
        for file in files:
            deleted += client.delete(f"{PATH}/{file['id']}").json()["deleted"]
        query["after"] = files[-1]["id"]
    assert (deleted, page(client)["data"]) == (5, [])


@pytest.mark.parametrize(
    ("query", "param", "code"),
    [
        ({"limit": 0}, "limit", "integer_below_min_value"),
        ({"limit": 10_001}, "limit", "integer_above_max_value"),
        ({"limit": "x"}, "limit", "invalid_type"),
        ({"order": "up"}, "order", "invalid_value"),
        ({"after": "file-nobody"}, "after", "invalid_value"),
        ({"after": "../link"}, "after", "invalid_value"),
        ({"before": "x"}, "before", "unknown_parameter"),
    ],
)
def test_pages_that_are_none(client: TestClient, query: Any, param: str, code: str) -> None:
    response = client.get(PATH, params=query)
    error = assert_error_shape(response)
    assert (response.status_code, error["param"], error["code"]) == (400, param, code)


def test_another_callers_file_is_no_cursor(shared: TestClient) -> None:
    alice, bob = ({"authorization": f"Bearer {key}"} for key in ("one", "two"))
    files, data = {"file": PLAIN}, {"purpose": "vision"}
    id = shared.post(PATH, files=files, data=data, headers=alice).json()["id"]
    assert shared.get(f"{PATH}?after={id}", headers=alice).status_code == 200
    assert shared.get(f"{PATH}?after={id}", headers=bob).status_code == 400
