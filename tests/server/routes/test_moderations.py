"""`POST /v1/moderations`: the original's shape, from the lists of this server."""

import asyncio
import base64
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types import Moderation
from starlette.testclient import TestClient

from pipelines.content import CATEGORIES
from pipelines.questions import Answer, Look, Looked
from pipelines.registry import Registry
from server.answering import viewing
from server.app import create_app
from server.config import Config
from server.prompts.moderations import MODELS, MOST_PARTS
from server.reading.uploads import Picture, Upload
from tests.server.checks import assert_error_shape
from tests.server.conftest import WEIGHTS
from tests.server.fakes import FakeFleet
from tests.server.pictures import file_of, noise
from tests.server.sockets import connected, serving, wait_for

PATH = "/v1/moderations"


@pytest.fixture(params=["on", "off"])
def guarded(
    request: pytest.FixtureRequest, tmp_path: Path, config: Config, fleet: FakeFleet
) -> Iterator[TestClient]:
    """It answers whether or not prompts are judged."""
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "model_index.json").write_text("{}")
    (tmp_path / "hate.txt").write_text("usually\n[low]\nalways\n[strict]\nstrictly\n")
    (tmp_path / "sexual-minors.txt").write_text("[with hate]\nyoung\n")
    weights = tmp_path / "weights.yaml"
    terms = "[hate.txt, sexual-minors.txt]"
    weights.write_text(f"{WEIGHTS}\npolicy: {{mode: {request.param}, terms: {terms}}}\n")
    (tmp_path / "keys").write_text("anyone:sk-1\nclosed:sk-3 policy=strict\n")
    config = replace(config, weights=(weights,), api_keys=tmp_path / "keys")
    app = create_app(config, Registry(weights, config.models_dir), fleet)  # type: ignore[arg-type]
    with TestClient(app, headers={"authorization": "Bearer sk-1"}) as client:
        yield client


def results(answer: Any) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert list(body) == ["id", "model", "results"] and body["id"].startswith("modr-")
    for result in body["results"]:
        Moderation.model_validate(result, strict=True)
        for part in ("categories", "category_scores", "category_applied_input_types"):
            assert list(result[part]) == list(CATEGORIES)
        assert result["flagged"] == any(result["categories"].values())
    found: list[dict[str, Any]] = body["results"]
    return found


def flagged(result: dict[str, Any]) -> set[str]:
    return {name for name, it in result["categories"].items() if it}


def test_each_text_has_a_result(guarded: TestClient) -> None:
    texts = ["fine", "usually young", "strictly", "young", "always"]
    found = results(guarded.post(PATH, json={"input": texts}))
    assert [flagged(it) for it in found] == [
        set(),
        {"hate", "sexual/minors"},
        set(),
        set(),
        {"hate"},
    ]
    scores = [it["category_scores"]["hate"] for it in found]
    assert scores[0] == 0 < scores[2] < 0.5 < scores[1] < scores[4] <= 1
    assert flagged(results(guarded.post(PATH, json={"input": "usually"}))[0]) == {"hate"}


def test_parts_are_one_input(guarded: TestClient) -> None:
    parts = [{"type": "text", "text": text} for text in ("fine", "usually")]
    (found,) = results(guarded.post(PATH, json={"input": parts}))
    assert flagged(found) == {"hate"}


def test_a_key_is_told_what_would_be_refused_to_it(guarded: TestClient) -> None:
    key = {"authorization": "Bearer sk-3"}
    (found,) = results(guarded.post(PATH, json={"input": "strictly"}, headers=key))
    assert flagged(found) == {"hate"}


@pytest.mark.parametrize("model", [None, *MODELS])
def test_the_models_of_the_original(guarded: TestClient, model: str | None) -> None:
    answer = guarded.post(PATH, json={"input": "a", "model": model})
    assert answer.json()["model"] == (model or "omni-moderation-latest")
    assert not set(MODELS) & {it["id"] for it in guarded.get("/v1/models").json()["data"]}


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "missing_required_parameter", "input"),
        ({"input": None}, "missing_required_parameter", "input"),
        ({"input": 3}, "invalid_type", "input"),
        ({"input": ""}, "empty_string", "input"),
        ({"input": []}, "empty_array", "input"),
        ({"input": ["a", 3]}, "invalid_type", "input[1]"),
        ({"input": ["a", {"type": "text", "text": "a"}]}, "invalid_type", "input[1]"),
        ({"input": [{"type": "text", "text": "a"}, "a"]}, "invalid_type", "input[1]"),
        ({"input": [{"type": "text"}]}, "missing_required_parameter", "input[0].text"),
        ({"input": [{"text": "a"}]}, "missing_required_parameter", "input[0].type"),
        ({"input": [{"type": "sound", "text": "a"}]}, "invalid_value", "input[0].type"),
        ({"input": [{"type": "text", "text": "a", "x": 1}]}, "unknown_parameter", "input[0].x"),
        ({"input": [IMAGE]}, "invalid_value", "input[0]"),
        ({"input": [{"type": "text", "text": "a"}, IMAGE]}, "invalid_value", "input[1]"),
        ({"input": [IMAGE] * 17}, "invalid_value", "input"),
        ({"input": [IMAGE["image_url"]]}, "missing_required_parameter", "input[0].type"),
        ({"input": [{"type": "image_url"}]}, "missing_required_parameter", "input[0].image_url"),
        ({"input": [IMAGE | {"image_url": {}}]}, "missing_required_parameter",
         "input[0].image_url.url"),
        ({"input": [IMAGE | {"image_url": "x"}]}, "invalid_type", "input[0].image_url"),
        ({"input": [IMAGE | {"image_url": {"url": 3}}]}, "invalid_type", "input[0].image_url.url"),
        ({"input": [IMAGE | {"image_url": {"url": "ftp://a/b"}}]}, "invalid_value",
         "input[0].image_url.url"),
        ({"input": [IMAGE | {"text": "a"}]}, "unknown_parameter", "input[0].text"),
        ({"input": ["a", IMAGE]}, "invalid_type", "input[1]"),
        ({"input": ["a"] * (MOST_PARTS + 1)}, "array_above_max_length", "input"),
        ({"input": "a" * 32_001}, "string_above_max_length", "input"),
        ({"input": "a", "model": "gpt-image-1"}, "invalid_value", "model"),
        ({"input": "a", "colour": 1}, "unknown_parameter", "colour"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(
    guarded: TestClient, body: dict[str, object], code: str, param: str
) -> None:
    answer = guarded.post(PATH, json=body)
    error = assert_error_shape(answer)
    assert (answer.status_code, error["code"], error["param"]) == (400, code, param)


def test_it_wants_a_key_and_counts_for_nothing(guarded: TestClient, fleet: FakeFleet) -> None:
    nobody = guarded.post(PATH, json={"input": "a"}, headers={"authorization": "Bearer no"})
    assert nobody.status_code == 401
    assert fleet.jobs == []


def test_hostile_texts_are_answered(guarded: TestClient) -> None:
    for text in ("usually " * 4000, "\ufdfa" * 32_000, "a\u0301" * 16_000, "u s " * 8_000):
        results(guarded.post(PATH, json={"input": text}))
    half = guarded.post(
        PATH, content=b'{"input": "\\ud800"}', headers={"content-type": "application/json"}
    )
    assert half.status_code == 400
    many = results(guarded.post(PATH, json={"input": ["usually " * 1000] * MOST_PARTS}))
    assert all(it["flagged"] for it in many)


def test_the_official_client(url: str) -> None:
    """On a real socket; with the lists that come along."""
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="anything", max_retries=0)
    told = client.moderations.create(
        model="text-moderation-latest", input=["a star", "n u d e", "强奸", "a naked child"]
    )
    assert [it.flagged for it in told.results] == [False, True, True, True]
    assert told.results[3].categories.sexual_minors
    with pytest.raises(openai.BadRequestError, match="nothing that looks at images"):
        client.moderations.create(input=[IMAGE])  # type: ignore[list-item]


class FakeAide:
    """Finds nothing in a picture, as soon as it may."""

    def __init__(self) -> None:
        self.asked = self.taken_back = 0
        self.may = threading.Event()

    def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def ask(self, question: Look, within_s: float) -> Answer:
        self.asked += 1
        try:
            while not self.may.is_set():
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            self.taken_back += 1
            raise
        return Looked({"sexual": 0.0})


@pytest.fixture
def aide(monkeypatch: pytest.MonkeyPatch) -> FakeAide:
    it = FakeAide()
    monkeypatch.setattr("server.app.aide_for", lambda config, registry: it)
    return it


def with_classifier(tmp_path: Path, mode: str = "on", installed: bool = True) -> Registry:
    if installed:
        (tmp_path / "judge").mkdir()
        (tmp_path / "judge" / "config.json").write_text('{"id2label": {"0": "red"}}')
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "model_index.json").write_text("{}")
    policy = {"mode": mode, "images": {"source": "judge", "labels": {"red": "sexual"}}}
    weights = tmp_path / "weights.yaml"
    weights.write_text(f"{WEIGHTS}\npolicy: {json.dumps(policy)}\n")
    return Registry(weights, tmp_path / "models")


@pytest.fixture
def looking(tmp_path: Path, config: Config, fleet: FakeFleet, aide: FakeAide) -> Iterator[str]:
    with serving(replace(config, port=0), with_classifier(tmp_path), fleet) as url:
        yield url + PATH


def small() -> dict[str, Any]:
    data = base64.b64encode(file_of(noise(8, 8))).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


def test_each_input_is_told_what_was_looked_at(looking: str, aide: FakeAide) -> None:
    aide.may.set()
    text = {"type": "text", "text": "a star"}
    told = []
    for sent in ("a star", [text, small()], [small()]):
        (result,) = results(httpx.post(looking, json={"input": sent}))
        types = result["category_applied_input_types"]
        told.append((types["sexual"], types["violence"]))
    assert told == [(["text"], ["text"]), (["text", "image"], ["text"]), (["image"], [])]


def test_for_a_client_that_leaves_nothing_more_is_looked_at(looking: str, aide: FakeAide) -> None:
    body = json.dumps({"input": [small()] * 16}).encode()
    head = f"POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    connection = connected(looking)
    connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    wait_for(lambda: aide.asked == 1)
    connection.close()
    wait_for(lambda: aide.taken_back == 1)
    assert aide.asked == 1


def test_however_many_send_pictures_one_is_decoded_at_a_time(
    looking: str, aide: FakeAide, monkeypatch: pytest.MonkeyPatch
) -> None:
    aide.may.set()
    running, most, decode = [], [], viewing.decode

    def slowly(upload: Upload) -> Picture:
        running.append(upload)
        most.append(len(running))
        time.sleep(0.01)
        running.remove(upload)
        return decode(upload)

    monkeypatch.setattr(viewing, "decode", slowly)

    async def many() -> list[httpx.Response]:
        async with httpx.AsyncClient(timeout=20) as client:
            sent = {"input": [small()] * 4}
            return await asyncio.gather(*(client.post(looking, json=sent) for _ in range(4)))

    assert [it.status_code for it in asyncio.run(many())] == [200] * 4
    assert most == [1] * 16


def test_a_classifier_that_is_not_installed_is_none(
    tmp_path: Path, config: Config, fleet: FakeFleet
) -> None:
    """A policy that is off may name it."""
    registry = with_classifier(tmp_path, "off", installed=False)
    app = create_app(config, registry, fleet)  # type: ignore[arg-type]
    with TestClient(app) as client:
        answer = client.post(PATH, json={"input": [small()]})
    error = assert_error_shape(answer)
    assert (answer.status_code, error["param"]) == (400, "input[0]")
    assert "installed" in error["message"]
