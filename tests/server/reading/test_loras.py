"""`loras`: from a request to its jobs, on every endpoint; and what is told of them."""

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from pipelines.core import Lora, UnfitLora
from tests.server.checks import assert_error_shape
from tests.server.fakes import FakeFleet
from tests.server.pictures import file_of, noise, opened

PICTURE = file_of(noise())


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Path:
    """LoRAs for demo, for another model, and for any."""
    folder = tmp_path / "models" / "loras"
    folder.mkdir(parents=True)
    for name in ("ink", "other", "any", "two.v1-a"):
        (folder / f"{name}.safetensors").touch()
    (folder / "ink.yaml").write_text("base: [absent, demo]")
    (folder / "other.yaml").write_text("base: absent")
    (folder / "two.v1-a.yaml").write_text("base: demo")
    (folder / "pickled.bin").touch()
    (tmp_path / "models" / "outside.safetensors").touch()
    return folder


def test_generations(generate: Any, fleet: FakeFleet) -> None:
    response = generate(loras=[{"name": "ink"}, {"name": "any", "scale": -0.5}], n=2)
    assert [list(entry) for entry in response.json()["data"]] == [["url", "seed"]] * 2
    assert [job.loras for job in fleet.jobs] == [(Lora("ink"), Lora("any", -0.5))] * 2
    generate(loras=[])
    assert fleet.jobs[-1].loras == ()


def test_forms_have_them_as_json(client: TestClient, fleet: FakeFleet) -> None:
    loras = json.dumps([{"name": "two.v1-a", "scale": 0.5}])
    for path, more in (("edits", {"prompt": "a star"}), ("variations", {})):
        sent = {"loras": loras, **more}
        response = client.post(f"/v1/images/{path}", files={"image": PICTURE}, data=sent)
        assert response.status_code == 200, response.text
        assert fleet.jobs[-1].loras == (Lora("two.v1-a", 0.5),)


def test_a_png_tells_them(generate: Any, client: TestClient) -> None:
    import io

    import PIL.Image

    entry = generate(loras=[{"name": "ink", "scale": 0.25}]).json()["data"][0]
    file = client.get(entry["url"]).content
    assert opened(file).size
    assert PIL.Image.open(io.BytesIO(file)).text["loras"] == "ink: 0.25"


BAD: list[tuple[Any, str, str, str]] = [
    ([{"name": "never"}], "loras[0].name", "invalid_value", "'never' does not exist"),
    ([{"name": "ink"}, {"name": "other"}], "loras[1].name", "invalid_value", "not for the model"),
    ([{"name": "../outside"}], "loras[0].name", "invalid_value", "does not exist"),
    ([{"name": "pickled"}], "loras[0].name", "invalid_value", "does not exist"),
    ([{"name": "ink"}, {"name": "ink"}], "loras[1].name", "invalid_value", "given twice"),
    ([{"name": ""}], "loras[0].name", "empty_string", "empty"),
    ([{"name": 7}], "loras[0].name", "invalid_type", "a string"),
    ([{"scale": 1}], "loras[0].name", "missing_required_parameter", "Missing"),
    ([{"name": "ink", "scale": 5}], "loras[0].scale", "decimal_above_max_value", "<= 4"),
    ([{"name": "ink", "scale": "1"}], "loras[0].scale", "invalid_type", "decimal"),
    ([{"name": "ink", "weight": 1}], "loras[0].weight", "unknown_parameter", "weight"),
    (["ink"], "loras[0]", "invalid_type", "an object"),
    ({"name": "ink"}, "loras", "invalid_type", "an array"),
    ([{"name": "ink"}] * 9, "loras", "array_above_max_length", "maximum length 8"),
]


@pytest.mark.parametrize(("loras", "param", "code", "says"), BAD)
def test_what_is_refused(
    generate: Any, fleet: FakeFleet, loras: Any, param: str, code: str, says: str
) -> None:
    response = generate(loras=loras)
    error = assert_error_shape(response)
    assert (response.status_code, error["param"], error["code"]) == (400, param, code)
    assert says in error["message"]
    assert fleet.jobs == []


@pytest.mark.parametrize("text", ["ink", "[{", "[NaN]", '{"name": "ink"}', "[" * 100_000])
def test_what_is_refused_of_a_form(client: TestClient, fleet: FakeFleet, text: str) -> None:
    response = client.post("/v1/images/variations", files={"image": PICTURE}, data={"loras": text})
    error = assert_error_shape(response)
    assert (response.status_code, error["param"], error["code"]) == (400, "loras", "invalid_type")
    assert fleet.jobs == []


def test_one_that_does_not_fit_its_model_is_the_clients_mistake(
    generate: Any, fleet: FakeFleet
) -> None:
    fleet.outcome = lambda job: UnfitLora(job.loras[0].name, "it has no layers")
    response = generate(loras=[{"name": "any"}])
    assert response.status_code == 400
    assert assert_error_shape(response)["message"] == (
        "The LoRA 'any' does not fit this model: it has no layers."
    )


def test_they_are_listed_with_their_base(client: TestClient, folder: Path) -> None:
    listed = {model["id"]: model for model in client.get("/v1/models").json()["data"]}
    assert listed["demo"]["loras"] == listed["dall-e-3"]["loras"] == ["ink", "two.v1-a"]
    assert "loras" not in listed["only-absent"], "nothing serves it"
    assert client.get("/v1/models/dall-e-3").json() == listed["dall-e-3"]
    (folder / "ink.yaml").write_text("base: [")
    assert client.get("/v1/models/demo").json()["loras"] == ["two.v1-a"]
