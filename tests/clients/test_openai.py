"""The newest official client for Python, as its users call it."""

import asyncio
import base64
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from pipelines.core import DoesNotFit, Image, Job, JobFailed, ModelUnavailable
from pipelines.registry import Registry
from server.config import Config
from server.keeping.files import Stored
from tests.server.fakes import FakeFleet, picture
from tests.server.sockets import serving

PNG = b"\x89PNG"


@pytest.fixture
def client(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{url}/v1", api_key="anything") as client:
        yield client


def opened(text: str | None) -> bytes:
    return base64.b64decode(text or "", validate=True)


@pytest.mark.parametrize("model", ["dall-e-2", "dall-e-3"])
def test_dall_e(client: OpenAI, model: str) -> None:
    answer = client.images.generate(model=model, prompt="a cat", user="me")
    (image,) = answer.data or []
    assert image.b64_json is None
    assert image.revised_prompt == ("a cat" if model == "dall-e-3" else None)
    assert httpx.get(image.url or "").content[:4] == PNG


def test_gpt_image(client: OpenAI) -> None:
    answer = client.images.generate(model="gpt-image-1", prompt="a cat", n=2, quality="low")
    assert [opened(image.b64_json)[:4] for image in answer.data or []] == [PNG, PNG]
    assert all(image.url is None for image in answer.data or [])
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert answer.usage.output_tokens == 2 * 272
    told = (answer.size, answer.quality, answer.background, answer.output_format)
    assert told == ("1024x1024", "low", "opaque", "png")
    assert (answer._request_id or "").startswith("req_")


def test_the_seeds_of_n_images_count_up(client: OpenAI, fleet: FakeFleet) -> None:
    answer = client.images.generate(
        model="flux-schnell", prompt="a cat", n=2, response_format="b64_json", size="64x64",
        extra_body={"seed": 7},
    )  # fmt: skip
    assert len({image.b64_json for image in answer.data or []}) == 2
    assert [job.seed for job in fleet.jobs] == [7, 8]


def test_null_is_omission(client: OpenAI) -> None:
    answer = client.images.generate(model="gpt-image-1", prompt="a cat", size=None, n=None)
    assert len(answer.data or []) == 1


def test_headers(client: OpenAI, fleet: FakeFleet) -> None:
    raw = client.images.with_raw_response.generate(
        model="flux-schnell", prompt="a cat", extra_body={"seed": 7}, size="64x64"
    )
    assert raw.headers["x-darkroom-seeds"] == "7"
    assert raw.headers["x-darkroom-model"] == "demo"
    assert raw.parse().data


def test_models(client: OpenAI) -> None:
    assert {model.id for model in client.models.list()} >= {"dall-e-3", "gpt-image-1", "demo"}
    assert client.models.retrieve("dall-e-3").owned_by == "darkroom"


def test_a_stream(client: OpenAI) -> None:
    stream = client.images.generate(
        model="gpt-image-1", prompt="a cat", stream=True, partial_images=3, size="1536x1024"
    )
    events = list(stream)
    assert [event.type for event in events] == [
        *["image_generation.partial_image"] * 3, "image_generation.completed",
    ]  # fmt: skip
    for index, event in enumerate(events[:3]):
        assert event.type == "image_generation.partial_image"
        assert event.partial_image_index == index
    assert all(opened(event.b64_json)[:4] == PNG for event in events)
    last = events[-1]
    assert last.type == "image_generation.completed"
    assert last.usage.total_tokens > 0
    assert (last.size, last.quality, last.background) == ("1536x1024", "medium", "opaque")
    assert last.created_at > 1_700_000_000


def test_a_stream_of_several_images(client: OpenAI) -> None:
    stream = client.images.generate(model="flux-schnell", prompt="a cat", stream=True, n=3)
    indexes = [event.index for event in stream]  # type: ignore[union-attr]
    assert sorted(indexes) == [0, 1, 2]


def test_an_error_in_a_stream(client: OpenAI, fleet: FakeFleet) -> None:
    def second_fails(job: Job) -> Image | Exception:
        return picture(job) if job.id.endswith("-0") else DoesNotFit(512, 512)

    fleet.outcome, fleet.delay_s = second_fails, 0.1
    with pytest.raises(openai.APIError) as caught:
        list(client.images.generate(model="gpt-image-1", prompt="a", stream=True, n=2))
    assert caught.value.code == "insufficient_memory"
    assert caught.value.type == "server_error"
    assert len(fleet.jobs) == 2


def test_an_error_before_a_stream(client: OpenAI, fleet: FakeFleet) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(model="dall-e-3", prompt="a", stream=True)  # type: ignore[call-overload]
    assert (caught.value.code, caught.value.param) == ("unknown_parameter", "stream")


def test_leaving_a_stream_frees_its_jobs(client: OpenAI, fleet: FakeFleet) -> None:
    fleet.delay_s = None
    stream = client.images.generate(model="gpt-image-1", prompt="a", stream=True, n=2)
    stream.close()  # type: ignore[union-attr]
    for _ in range(500):
        if all(future.cancelled() for future in fleet.futures):
            break
        httpx.get(f"{client.base_url}/models")
    assert [future.cancelled() for future in fleet.futures] == [True, True]


def test_the_asynchronous_client(url: str) -> None:
    async def main() -> None:
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key="anything") as client:
            ask = client.images.generate
            answers = await asyncio.gather(
                *(ask(model="gpt-image-1", prompt="a cat") for _ in range(3))
            )
            assert all(opened((it.data or [])[0].b64_json)[:4] == PNG for it in answers)
            stream = await ask(model="gpt-image-1", prompt="a", stream=True, partial_images=1)
            types = [event.type async for event in stream]
            assert types == ["image_generation.partial_image", "image_generation.completed"]
            assert [model.id async for model in client.models.list()]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("asked", "kind", "code", "param"),
    [
        ({"model": "gpt-5"}, openai.BadRequestError, "invalid_value", "model"),
        ({"prompt": ""}, openai.BadRequestError, "empty_string", "prompt"),
        ({"size": "1x1"}, openai.BadRequestError, "invalid_size", None),
        ({"n": 0}, openai.BadRequestError, "integer_below_min_value", "n"),
        ({"extra_body": {"colour": 1}}, openai.BadRequestError, "unknown_parameter", "colour"),
    ],
)
def test_refusals_are_not_retried(
    client: OpenAI, asked: dict, kind: type[openai.APIStatusError], code: str, param: str | None
) -> None:
    with pytest.raises(kind) as caught:
        client.images.generate(**{"prompt": "a cat", "model": "dall-e-2", **asked})
    error = caught.value
    assert (error.code, error.param) == (code, param)
    assert (error.request_id or "").startswith("req_")
    assert isinstance(error.body, dict) and error.body["message"] in str(error)


def test_an_unknown_model_is_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-5")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("failure", [JobFailed("x"), DoesNotFit(512, 512), ModelUnavailable("x")])
def test_what_no_retry_mends_is_asked_once(
    client: OpenAI, fleet: FakeFleet, failure: Exception
) -> None:
    fleet.outcome = lambda job: failure
    with pytest.raises(openai.InternalServerError):
        client.images.generate(prompt="a cat")
    assert len(fleet.jobs) == 1


def test_a_full_queue_is_asked_again_and_then_answers(
    client: OpenAI, fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = []

    def make_room(wait_s: float) -> None:
        refused.append(wait_s)
        fleet.room = None

    fleet.room, fleet.wait_s = 0, 0.9
    monkeypatch.setattr("openai._base_client.time.sleep", make_room)
    assert client.images.generate(model="gpt-image-1", prompt="a cat").data
    assert refused == [0.9]  # exactly what retry-after-ms says


def test_keys(tmp_path: Path, config: Config, registry: Registry, fleet: FakeFleet) -> None:
    (tmp_path / "keys").write_text("sk-right\n")
    locked = replace(config, port=0, api_keys=tmp_path / "keys")
    with serving(locked, registry, fleet) as url:
        with OpenAI(base_url=f"{url}/v1", api_key="sk-wrong") as client:
            with pytest.raises(openai.AuthenticationError) as caught:
                client.images.generate(prompt="a cat")
            assert caught.value.code == "invalid_api_key"
            right = client.with_options(api_key="sk-right")
            assert right.images.generate(prompt="a cat").data


@pytest.mark.parametrize("there", [0, 1, 20, 10_001])
def test_listing_files_ends(client: OpenAI, config: Config, there: int) -> None:
    folder = config.data_dir / "files"
    created = int(time.time()) - 60
    for number in range(there):  # as they lie there after a restart
        stored = Stored(f"file-{number:024}", "", "a.png", "image/png", 9, created + number // 1000)
        (folder / f"{stored.id}.json").write_text(json.dumps(asdict(stored)))
    listed = [file.id for file in client.files.list()]
    assert listed == [f"file-{number:024}" for number in reversed(range(there))]
    if there < 100:
        upwards = client.files.list(order="asc", limit=7)
        assert [file.id for file in upwards] == listed[::-1]
