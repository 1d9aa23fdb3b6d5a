"""The content policy at the endpoints: what is refused, in whose words, and that nothing runs."""

import io
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Picture
from starlette.testclient import TestClient

from pipelines.core import Blocked, Image, Job
from pipelines.registry import Registry
from server.app import create_app
from server.callers.ledger import FILE
from server.callers.usage import totals
from server.config import Config, ConfigError
from tests.server.chat_server import chat_server, message
from tests.server.checks import assert_error_shape, events_of
from tests.server.conftest import WEIGHTS
from tests.server.fakes import FakeFleet, picture
from tests.server.scrape import Scrape

LIST = "[low]\nalways*\n[auto]\nusually\n禁止\n[strict]\nstrictly\n"
FORBIDDEN = "a picture that is usually kept back"


@pytest.fixture
def policy() -> dict[str, object]:
    """What weights.yaml says; with `off` as YAML has it."""
    return {"mode": "on", "terms": ["lists"]}


@contextmanager
def serving(
    tmp_path: Path, config: Config, fleet: FakeFleet, policy: dict[str, object], mode: Any = None
) -> Iterator[TestClient]:
    (tmp_path / "lists").mkdir(exist_ok=True)
    (tmp_path / "lists" / "violence.txt").write_text(LIST, encoding="utf-8")
    (tmp_path / "demo").mkdir(exist_ok=True)
    (tmp_path / "demo" / "model_index.json").write_text("{}")
    weights = tmp_path / "with_policy.yaml"
    weights.write_text(f"{WEIGHTS}\npolicy: {json.dumps(policy)}\n")
    (tmp_path / "keys").write_text(
        "anyone:sk-1\nopen:sk-2 policy=off\nclosed:sk-3 policy=strict\nroot:sk-r admin=true\n"
    )
    config = replace(config, weights=(weights,), api_keys=tmp_path / "keys", policy=mode)
    registry = Registry(config.weights, config.models_dir)
    app = create_app(config, registry, fleet)  # type: ignore[arg-type]
    with TestClient(app, headers={"authorization": "Bearer sk-1"}) as client:
        yield client


@pytest.fixture
def guarded(
    tmp_path: Path, config: Config, fleet: FakeFleet, policy: dict[str, object]
) -> Iterator[TestClient]:
    with serving(tmp_path, config, fleet, policy) as client:
        yield client


def ask(client: TestClient, prompt: str, key: str = "sk-1", **parameters: Any) -> Any:
    return client.post(
        "/v1/images/generations",
        json={"model": "gpt-image-1", "prompt": prompt, **parameters},
        headers={"authorization": f"Bearer {key}"},
    )


def refused_as(answer: Any, status: int, code: str) -> dict[str, Any]:
    error = assert_error_shape(answer)
    assert (answer.status_code, error["code"]) == (status, code)
    return error


def png() -> bytes:
    file = io.BytesIO()
    Picture.new("RGB", (64, 64), "red").save(file, "png")
    return file.getvalue()


@pytest.mark.parametrize("model", ["dall-e-2", "dall-e-3", "flux-schnell"])
def test_a_prompt_is_refused_as_dall_e_does(
    guarded: TestClient, fleet: FakeFleet, model: str
) -> None:
    answer = ask(guarded, FORBIDDEN, model=model)
    error = refused_as(answer, 400, "content_policy_violation")
    assert error["type"] == "invalid_request_error" and error["param"] is None
    assert error["message"].startswith(
        "Your request was rejected as a result of our safety system."
    )
    assert "moderation_details" not in error
    assert answer.headers["x-should-retry"] == "false"
    assert fleet.jobs == []


@pytest.mark.parametrize("model", ["gpt-image-1", "gpt-image-2", "gpt-image-2.5-flare"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_is_refused_as_gpt_image_does(
    guarded: TestClient, fleet: FakeFleet, model: str, stream: bool
) -> None:
    answer = ask(guarded, FORBIDDEN, model=model, stream=stream)
    error = refused_as(answer, 400, "moderation_blocked")
    assert error["type"] == "image_generation_user_error"
    assert error["message"].startswith("Your request was rejected by the safety system.")
    assert error["moderation_details"] == {"moderation_stage": "input", "categories": ["violence"]}
    assert fleet.jobs == []


@pytest.mark.parametrize(
    ("key", "moderation", "refused"),
    [
        ("sk-1", None, {"always", "usually"}),
        ("sk-1", "auto", {"always", "usually"}),
        ("sk-1", "low", {"always"}),
        ("sk-2", None, set()),
        ("sk-2", "auto", set()),
        ("sk-3", None, {"always", "usually", "strictly"}),
        ("sk-3", "low", {"always", "usually", "strictly"}),
    ],
)
def test_how_strictly(
    guarded: TestClient, fleet: FakeFleet, key: str, moderation: str | None, refused: set[str]
) -> None:
    sent = {"moderation": moderation} if moderation else {}
    answers = {it: ask(guarded, it, key, **sent) for it in ("always", "usually", "strictly")}
    assert {it for it, answer in answers.items() if answer.status_code == 400} == refused
    strictness = {"sk-2": None, "sk-3": "strict"}.get(key, moderation or "auto")
    assert {job.moderation for job in fleet.jobs} <= {strictness}
    honoured = moderation in (None, strictness)
    for word in answers.keys() - refused:
        ignored = answers[word].headers.get("x-darkroom-ignored", "")
        assert ("moderation" in ignored) == (not honoured)


@pytest.mark.parametrize(
    ("said", "told", "refused"),
    [
        ("on", None, {"always", "usually"}),
        (True, None, {"always", "usually"}),  # as YAML reads a bare `on`
        (False, None, set()),
        ("off", "on", {"always", "usually"}),
        ("on", "off", set()),
        ("on", "strict", {"always", "usually", "strictly"}),
    ],
)
def test_modes(
    tmp_path: Path,
    config: Config,
    fleet: FakeFleet,
    said: object,
    told: Any,
    refused: set[str],
) -> None:
    policy = {"mode": said, "terms": ["lists"]}
    with serving(tmp_path, config, fleet, policy, told) as client:
        words = ("always", "usually", "strictly")
        assert {it for it in words if ask(client, it).status_code == 400} == refused
        mode = told or {True: "on", False: "off"}.get(said, said)  # type: ignore[call-overload]
        now = client.get("/status").json()["policy"]
        assert now == {"mode": mode, "terms": 4, "judges_prompts": False, "judges_images": False}


def test_without_a_word_in_weights_yaml_nothing_is_refused(
    client: TestClient, fleet: FakeFleet
) -> None:
    answer = client.post("/v1/images/generations", json={"prompt": "porn", "model": "dall-e-2"})
    assert answer.status_code == 200
    assert fleet.jobs[0].moderation is None
    assert client.get("/status").json()["policy"]["mode"] == "off"


def test_edits_are_judged_before_their_pictures_are_looked_at(
    guarded: TestClient, fleet: FakeFleet
) -> None:
    form = {"model": "gpt-image-1", "prompt": FORBIDDEN}
    answer = guarded.post("/v1/images/edits", data=form, files={"image": b"\x89PNG broken"})
    refused_as(answer, 400, "moderation_blocked")
    body = {"model": "gpt-image-1", "prompt": "禁止", "images": [{"file_id": "file-none"}]}
    refused_as(guarded.post("/v1/images/edits", json=body), 400, "moderation_blocked")
    assert fleet.jobs == []


def test_images_of_edits_and_variations_are_to_be_judged(
    guarded: TestClient, fleet: FakeFleet
) -> None:
    files = {"image": png()}
    form = {"model": "gpt-image-1", "prompt": "a", "moderation": "low"}
    assert guarded.post("/v1/images/edits", data=form, files=files).status_code == 200
    form = {"model": "dall-e-2"}
    assert guarded.post("/v1/images/variations", data=form, files=files).status_code == 200
    assert [job.moderation for job in fleet.jobs] == ["low", "auto"]


def test_a_negative_prompt_names_what_is_not_to_be_seen(guarded: TestClient) -> None:
    answer = ask(guarded, "a", negative_prompt=FORBIDDEN, guidance_scale=3)
    assert answer.status_code == 200


def test_a_faulty_request_is_told_its_fault(guarded: TestClient) -> None:
    refused_as(ask(guarded, FORBIDDEN, size="1x1"), 400, "invalid_value")


def test_a_refusal_is_counted(guarded: TestClient, config: Config) -> None:
    ask(guarded, FORBIDDEN)
    ask(guarded, FORBIDDEN, model="dall-e-2")
    now = Scrape(guarded.get("/metrics").text)
    assert now['darkroom_policy_refusals_total{category="violence",stage="input"}'] == 2
    assert now['darkroom_policy_refusals_total{category="violence",stage="output"}'] == 0
    found = totals(config.data_dir / FILE, ["key", "name", "error"])
    assert {(*it.of, it.refusals) for it in found} == {
        ("anyone", "gpt-image-1", "moderation_blocked", 1),
        ("anyone", "dall-e-2", "content_policy_violation", 1),
    }


def blocked(job: Job) -> Image | Exception:
    """The second image of each request is kept back."""
    return Blocked(("sexual", "violence")) if job.id.endswith("-1") else picture(job)


def test_an_image_that_is_kept_back_fails_its_request(
    guarded: TestClient, fleet: FakeFleet, config: Config
) -> None:
    fleet.outcome = blocked
    answer = ask(guarded, "a", n=3)
    error = refused_as(answer, 400, "moderation_blocked")
    details = {"moderation_stage": "output", "categories": ["sexual", "violence"]}
    assert error["moderation_details"] == details
    answer = ask(guarded, "a", n=2, model="dall-e-2")
    refused_as(answer, 400, "content_policy_violation")
    now = Scrape(guarded.get("/metrics").text)
    assert now['darkroom_policy_refusals_total{category="sexual",stage="output"}'] == 2
    assert now['darkroom_jobs_total{outcome="blocked"}'] == 2
    with sqlite3.connect(config.data_dir / FILE) as database:
        assert database.execute("SELECT count(*) FROM images").fetchone() == (0,)


def test_an_image_that_is_kept_back_ends_its_stream(guarded: TestClient, fleet: FakeFleet) -> None:
    fleet.outcome = lambda job: Blocked(("sexual",))
    answer = ask(guarded, "a", stream=True)
    ((name, data),) = events_of(answer.text)
    assert name == data["type"] == "error"
    assert data["error"]["code"] == "moderation_blocked"
    assert data["error"]["moderation_details"]["moderation_stage"] == "output"


def test_an_image_that_is_kept_back_is_of_those_of_the_minute(
    tmp_path: Path, config: Config, fleet: FakeFleet, policy: dict[str, object]
) -> None:
    fleet.outcome = lambda job: Blocked(("sexual",))
    with serving(tmp_path, config, fleet, policy) as client:
        (tmp_path / "keys").write_text("few:sk-few images-per-minute=1\n")
        config = replace(config, weights=(tmp_path / "with_policy.yaml",))
        config = replace(config, api_keys=tmp_path / "keys", data_dir=tmp_path / "other")
        app = create_app(config, Registry(config.weights, config.models_dir), fleet)  # type: ignore[arg-type]
        with TestClient(app) as client:
            refused_as(ask(client, "a", "sk-few"), 400, "moderation_blocked")
            refused_as(ask(client, "a", "sk-few"), 429, "rate_limit_exceeded")


@pytest.mark.parametrize("which", ["prompts", "images"])
def test_a_classifier_that_is_not_there_keeps_the_server_from_starting(
    tmp_path: Path, config: Config, fleet: FakeFleet, which: str
) -> None:
    policy = {"mode": "on", "terms": ["lists"], which: {"source": "hub:someone/judge"}}
    told = rf"policy\.{which}: hub:someone/judge .*darkroom pull policy-{which}"
    with pytest.raises(ConfigError, match=told), serving(tmp_path, config, fleet, policy):
        pass
    with serving(tmp_path, config, fleet, policy, "off") as client:
        assert ask(client, FORBIDDEN).status_code == 200


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ({"mode": "sometimes"}, "policy.mode"),
        ({"words": []}, "policy.words"),
        ({"terms": ["nowhere.txt"]}, "nowhere.txt"),
        ({"images": {"source": "a", "labels": {"x": "nonsense"}}}, "policy.images.labels.x"),
        ({"images": {"source": "a", "thresholds": {"auto": 2}}}, "policy.images.thresholds.auto"),
        ({"images": {}}, "policy.images.source"),
    ],
)
def test_mistakes_in_weights_yaml_are_told(
    tmp_path: Path, config: Config, fleet: FakeFleet, policy: dict[str, object], told: str
) -> None:
    with pytest.raises(ValueError, match=told), serving(tmp_path, config, fleet, policy):
        pass


def test_what_a_rewriter_makes_of_a_prompt_is_judged_too(
    tmp_path: Path, config: Config, fleet: FakeFleet, policy: dict[str, object]
) -> None:
    with chat_server() as chat, serving(tmp_path, config, fleet, policy) as client:
        rewriter = {"url": chat.url, "model": "tiny"}
        weights = tmp_path / "with_policy.yaml"
        weights.write_text(f"{weights.read_text()}\nrewriter: {json.dumps(rewriter)}\n")
        config = replace(config, weights=(weights,), data_dir=tmp_path / "other")
        app = create_app(config, Registry(weights, config.models_dir), fleet)  # type: ignore[arg-type]
        with TestClient(app) as client:
            for says, status in (("a red circle", 200), ("an always forbidden circle", 400)):
                chat.says = lambda _, says=says: message(says)
                answer = ask(client, "a circle", model="dall-e-3")
                assert answer.status_code == status, answer.text
    assert [job.prompt for job in fleet.jobs] == ["a red circle"]


def test_hostile_prompts_are_answered(guarded: TestClient, fleet: FakeFleet) -> None:
    for prompt in ("usually " * 4000, "a" * 32_000, "\ufdfa" * 32_000, "a\u0301" * 16_000):
        assert ask(guarded, prompt).status_code in (200, 400)
    refused_as(ask(guarded, "禁 止 " * 8000), 400, "moderation_blocked")
    form = {"model": "gpt-image-1", "prompt": "usually\x00"}
    answer = guarded.post("/v1/images/edits", data=form, files={"image": png()})
    refused_as(answer, 400, "moderation_blocked")
