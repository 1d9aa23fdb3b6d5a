"""Which model does an edit or a variation, as what, and what is told of what it cannot do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from pipelines.registry import Registry
from server.app import create_app
from server.config import Config
from tests.server.checks import assert_error_shape
from tests.server.fakes import FakeFleet
from tests.server.pictures import file_of, left_half_clear, noise, with_alpha

PRESETS = "{low: &p {steps: 4, guidance_scale: 2}, medium: *p, high: *p}"
ENTRIES = {
    "base": "inpaint: fill, edit: kontext, variation: redux",
    "fill": "tasks: [inpaint], ignores: [negative_prompt]",
    "kontext": "tasks: [text2img, edit, inpaint]",
    "redux": "tasks: [variation]",
    "told": "tasks: [text2img, edit], edit: told, references: 2",
    "plain": "strength: {variation: 0.5}",
}
INSTALLED = ["base", "fill", "told", "plain"]
WHOLE, CLEAR = file_of(noise()), file_of(with_alpha(noise(), left_half_clear()))


def install(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).mkdir()
        (folder / name / "model_index.json").write_text("{}")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    entries = "\n".join(
        f"  {id}: {{source: {id}, dtype: float32, quality: {PRESETS.replace('&p', f'&{id}')}, "
        f"native: {{smallest: 64, largest: 64, multiple: 16}}, {keys}}}".replace("*p", f"*{id}")
        for id, keys in ENTRIES.items()
    )
    file = tmp_path / "weights.yaml"
    file.write_text(f"models:\n{entries}\nnames:\n  gpt-image-1: [base]\n  some: [fill, plain]\n")
    install(tmp_path, *INSTALLED)
    return Registry(file, tmp_path / "models")


@pytest.fixture
def client(config: Config, registry: Registry, fleet: FakeFleet) -> Iterator[TestClient]:
    with TestClient(create_app(config, registry, fleet), "http://darkroom.test") as client:
        yield client


@pytest.fixture
def edit(client: TestClient) -> Any:
    def post(*files: bytes, model: str, **texts: str) -> Any:
        data = {"prompt": "a", "model": model} | texts
        parts = [("image", file) for file in files]
        return client.post("/v1/images/edits", files=parts, data=data)

    return post


@pytest.fixture
def vary(client: TestClient) -> Any:
    def post(model: str, **texts: str) -> Any:
        files = {"image": WHOLE}
        return client.post("/v1/images/variations", files=files, data={"model": model} | texts)

    return post


def ignored(response: Any) -> str | None:
    assert response.status_code == 200, response.text
    told: str | None = response.headers.get("x-darkroom-ignored")
    return told


def test_a_better_suited_model_does_the_work_where_it_is_installed(
    edit: Any, fleet: FakeFleet, tmp_path: Path
) -> None:
    for file in (CLEAR, WHOLE):
        assert ignored(edit(file, model="base", strength="0.3")) is None
    install(tmp_path, "kontext")
    response = edit(WHOLE, model="base", strength="0.3")
    assert ignored(response) == "strength"
    assert response.headers["x-darkroom-model"] == "kontext"
    assert [(job.model, job.task, job.strength) for job in fleet.jobs] == [
        ("fill", "inpaint", 0.3),
        ("base", "img2img", 0.3),
        ("kontext", "edit", 1.0),
    ]


def test_a_model_that_only_takes_instructions_is_instructed_about_a_region_too(
    edit: Any, fleet: FakeFleet
) -> None:
    assert ignored(edit(CLEAR, model="told", strength="0.3", crop="false")) == "strength"
    (job,) = fleet.jobs
    assert (job.model, job.task, job.mask, job.strength) == ("told", "edit", None, 1.0)
    assert job.source is not None


def test_several_pictures_are_looked_at_where_the_model_can(edit: Any, fleet: FakeFleet) -> None:
    others = [noise(288, 256, seed) for seed in range(3)]
    response = edit(WHOLE, *map(file_of, others), model="told")
    assert ignored(response) == "image[3]"
    (job,) = fleet.jobs
    assert [(it.width, it.height) for it in job.references] == [(288, 256)] * 2
    assert bytes(job.references[1].pixels) == others[1].tobytes()
    assert ignored(edit(WHOLE, WHOLE, model="plain")) == "image[1]"
    assert fleet.jobs[-1].references == ()


@pytest.mark.parametrize(
    ("sent", "seen"),
    [((4096, 1024), (2048, 512)), ((8, 8), (256, 256)), ((1000, 10), (512, 128))],
)
def test_what_is_only_looked_at_has_a_size_and_shape_that_models_take(
    edit: Any, fleet: FakeFleet, sent: tuple[int, int], seen: tuple[int, int]
) -> None:
    width, height = sent
    edit(WHOLE, file_of(np.zeros((height, width, 3), np.uint8)), model="told")
    (reference,) = fleet.jobs[0].references
    assert (reference.width, reference.height) == seen


def test_a_picture_that_is_only_looked_at_must_be_one(edit: Any, fleet: FakeFleet) -> None:
    error = assert_error_shape(edit(WHOLE, WHOLE[:200], model="told"))
    assert error["code"] == "invalid_image_file"
    assert fleet.jobs == []


def test_usage_counts_the_pictures_that_are_looked_at(edit: Any) -> None:
    assert edit(WHOLE, model="gpt-image-1").json()["usage"]["input_tokens_details"] == {
        "image_tokens": 194,
        "text_tokens": 1,
    }


def test_variations_are_made_by_what_the_model_has_for_them(
    vary: Any, fleet: FakeFleet, tmp_path: Path
) -> None:
    assert ignored(vary("plain")) is None
    assert ignored(vary("base", strength="0.2")) is None
    assert ignored(vary("told", strength="0.2")) == "strength"
    install(tmp_path, "redux")
    assert ignored(vary("base", strength="0.2")) == "strength"
    assert [(job.model, job.task, job.strength) for job in fleet.jobs] == [
        ("plain", "img2img", 0.5),
        ("base", "img2img", 0.2),
        ("told", "edit", 1.0),
        ("base", "variation", 1.0),
    ]


def test_a_name_goes_to_a_model_that_can(
    edit: Any, vary: Any, client: TestClient, fleet: FakeFleet
) -> None:
    edit(CLEAR, model="some")
    edit(WHOLE, model="some")
    vary("some")
    client.post("/v1/images/generations", json={"prompt": "a", "model": "some"})
    assert [(job.model, job.task) for job in fleet.jobs] == [
        ("fill", "inpaint"),
        ("plain", "img2img"),
        ("plain", "img2img"),
        ("plain", "text2img"),
    ]


def test_what_no_model_of_a_name_can_do_is_refused(
    edit: Any, vary: Any, client: TestClient, fleet: FakeFleet
) -> None:
    asked = {"prompt": "a", "model": "fill"}
    for response, what in (
        (client.post("/v1/images/generations", json=asked), "image generation"),
        (edit(WHOLE, model="fill"), "image edits without a mask"),
        (vary("fill"), "image variations"),
    ):
        error = assert_error_shape(response)
        assert (response.status_code, error["param"]) == (400, "model")
        assert error["message"] == f"The model 'fill' does not support {what}."
    assert fleet.jobs == []


def test_extensions_that_the_weights_have_no_use_for_are_named(edit: Any) -> None:
    assert ignored(edit(CLEAR, model="fill", negative_prompt="b", seed="1")) == "negative_prompt"
    assert ignored(edit(WHOLE, model="plain", negative_prompt="b", seed="1")) is None
