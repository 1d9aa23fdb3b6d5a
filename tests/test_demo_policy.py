"""The content policy of a real server: its lists, and a tiny classifier that takes offence at red.

What it keeps back must be in no answer, file, log or preview.
"""

import base64
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

from tests.live import ROOT, serving
from tests.server.checks import assert_error_shape, events_of
from tests.server.sockets import wait_for
from tests.tiny_judges import RED, redness
from tests.tiny_reader import FORBIDDEN, TOXIC, reader

ALL_RED = "a large red circle on a red background"
BLUE = "a large blue circle on a blue background"
POLICY = f"""
policy:
  mode: on
  terms: [{ROOT / "policy"}]
  images: {{source: judge, labels: {{{RED}: violence/graphic}}}}
  prompts: {{source: reader, labels: {{{TOXIC}: harassment}}}}
"""


@dataclass(frozen=True)
class Server:
    url: str
    data: Path
    log: Path

    def ask(self, prompt: str, key: str = "sk-1", path: str = "generations", **more: Any) -> Any:
        asked = {"model": "gpt-image-1", "prompt": prompt, "seed": 1, "size": "1024x1024"}
        return httpx.post(
            f"{self.url}/v1/images/{path}",
            json=asked | more,
            headers={"authorization": f"Bearer {key}"},
            trust_env=False,
            timeout=60,
        )

    def written(self) -> dict[Path, bytes]:
        """Every file of it, the log included."""
        files = [it for it in self.data.rglob("*") if it.is_file()]
        return {it: it.read_bytes() for it in (*files, self.log)}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("policy")
    redness(folder / "judge")
    reader(folder / "reader")
    (folder / "more.yaml").write_text(POLICY)
    (folder / "keys").write_text("anyone:sk-1\nopen:sk-2 policy=off\n")
    files = [f"--weights={ROOT / 'weights.yaml'}", f"--weights={folder / 'more.yaml'}"]
    log = folder / "log"
    with (
        log.open("wb") as stream,
        serving(
            folder / "data", *files, f"--api-keys={folder / 'keys'}", log=stream.fileno()
        ) as url,
    ):
        yield Server(url, folder / "data", log)


def pixels(answer: httpx.Response) -> bytes:
    assert answer.status_code == 200, answer.text
    (entry,) = answer.json()["data"]
    return Image.open(BytesIO(base64.b64decode(entry["b64_json"]))).convert("RGB").tobytes()


def test_red_is_kept_back_and_blue_is_not(server: Server) -> None:
    error = assert_error_shape(server.ask(ALL_RED))
    assert error["code"] == "moderation_blocked"
    details = {"moderation_stage": "output", "categories": ["violence/graphic"]}
    assert error["moderation_details"] == details
    assert pixels(server.ask(BLUE))


def test_what_is_kept_back_is_nowhere(server: Server) -> None:
    made = server.ask(ALL_RED, "sk-2")
    rows = pixels(made)
    before = server.written()
    for more in ({}, {"n": 2}, {"stream": True, "partial_images": 3}, {"model": "dall-e-2"}):
        answer = server.ask(ALL_RED, **more)
        assert answer.status_code == (200 if "stream" in more else 400)
        assert len(answer.content) < 1000
    dall_e = {"model": "dall-e-3", "response_format": "url", "steps": 8}
    assert "url" not in server.ask(ALL_RED, **dall_e).text
    after = server.written()
    new = {path: it.removeprefix(before.get(path, b"")) for path, it in after.items()}
    assert all("images" not in path.parts and "uploads" not in path.parts for path in new)
    file = base64.b64decode(made.json()["data"][0]["b64_json"])
    for path, content in new.items():
        for part in (rows[:96], rows[len(rows) // 2 :][:96], file[-200:-100]):
            assert part not in content, path


def test_a_stream_shows_no_preview_of_it(server: Server) -> None:
    free = events_of(server.ask(ALL_RED, "sk-2", stream=True, partial_images=3).text)
    assert [name for name, _ in free][-1] == "image_generation.completed" and len(free) > 1
    told = events_of(server.ask(ALL_RED, stream=True, partial_images=3).text)
    assert told[-1][1]["error"]["code"] == "moderation_blocked"
    seen = [Image.open(BytesIO(base64.b64decode(it["b64_json"]))) for _, it in told[:-1]]
    for preview in seen:  # none, or one in which nothing was to be seen yet
        red, green, blue = preview.convert("RGB").resize((1, 1)).getpixel((0, 0))
        assert red - green - blue < 0.25 * 255


def test_in_company_one_is_kept_back_and_the_others_are_as_always(server: Server) -> None:
    alone = pixels(server.ask(BLUE))
    with ThreadPoolExecutor() as pool:
        prompts = [ALL_RED, BLUE, ALL_RED, BLUE]
        red, blue, *others = pool.map(server.ask, prompts)
    assert {it.status_code for it in (red, others[0])} == {400}
    for answer in (blue, others[1]):
        together = Image.frombytes("RGB", (1024, 1024), pixels(answer))
        differences = zip(together.tobytes(), alone, strict=True)
        assert max(abs(a - b) for a, b in differences) <= 2


def test_a_variation_is_judged_too(server: Server) -> None:
    file = BytesIO()
    Image.new("RGB", (256, 256), "red").save(file, "PNG")
    answers = [
        httpx.post(
            f"{server.url}/v1/images/variations",
            data={"model": "dall-e-2", "size": "256x256"},
            files={"image": file.getvalue()},
            headers={"authorization": f"Bearer {key}"},
            trust_env=False,
            timeout=60,
        )
        for key in ("sk-1", "sk-2")
    ]
    assert assert_error_shape(answers[0])["code"] == "content_policy_violation"
    assert answers[1].status_code == 200


def test_a_refused_prompt_costs_no_denoising(server: Server) -> None:
    def work() -> Any:
        status = httpx.get(
            f"{server.url}/status", headers={"authorization": "Bearer sk-1"}, trust_env=False
        ).json()
        assert status["policy"]["mode"] == "on" and status["policy"]["judges_images"]
        (device,) = status["devices"]
        return device["passes"]

    def rests() -> bool:
        before = work()
        time.sleep(1.5)  # a worker sends its totals once a second
        return bool(work() == before)

    wait_for(rests)  # what was done before is told with a delay
    before = work()
    for prompt in ("N U D E portrait", "一张色情图片", f"an {FORBIDDEN} on paper"):
        assert assert_error_shape(server.ask(prompt))["code"] == "moderation_blocked"
    assert work() == before


def test_moderations_through_the_official_client(server: Server) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="sk-1", max_retries=0)
    told = client.moderations.create(input=[BLUE, "hardcore porn", "色情", FORBIDDEN])
    assert [it.flagged for it in told.results] == [False, True, True, True]
    assert told.results[3].categories.harassment
    assert told.id.startswith("modr-") and told.model == "omni-moderation-latest"
    assert told.results[1].categories.sexual and not told.results[1].categories.violence
    assert told.results[1].category_scores.sexual > 0.5 > told.results[0].category_scores.sexual
    assert told.results[1].category_applied_input_types.sexual == ["text"]


def image(colour: str, kind: str = "png") -> dict[str, Any]:
    file = BytesIO()
    Image.new("RGB", (1500, 700), colour).save(file, kind)
    data = base64.b64encode(file.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{data}"}}


def test_pictures_are_moderated_by_the_classifier_of_images(server: Server) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="sk-1", max_retries=0)

    def told(*parts: Any) -> Any:
        (result,) = client.moderations.create(input=list(parts)).results
        return result

    text = {"type": "text", "text": "色情"}
    red, blue, both = told(image("red")), told(image("blue", "jpeg")), told(text, image("blue"))
    assert (red.flagged, blue.flagged, both.flagged) == (True, False, True)
    assert red.categories.violence_graphic and not red.categories.sexual
    assert red.category_scores.violence_graphic > 0.5 > blue.category_scores.violence_graphic
    assert both.categories.sexual and not both.categories.violence_graphic
    types = both.category_applied_input_types
    assert (types.violence_graphic, types.sexual) == (["text", "image"], ["text"])
    types = red.category_applied_input_types
    assert (types.violence_graphic, types.sexual) == (["image"], [])
    assert told(image("blue"), image("red"), image("blue")).categories.violence_graphic


def test_pictures_that_cannot_be_looked_at_are_told(server: Server) -> None:
    def ask(url: str) -> tuple[int, Any, Any]:
        part = {"type": "image_url", "image_url": {"url": url}}
        answer = httpx.post(
            f"{server.url}/v1/moderations",
            json={"input": [part]},
            headers={"authorization": "Bearer sk-1"},
            trust_env=False,
        )
        error = assert_error_shape(answer)
        return answer.status_code, error["code"], error["param"]

    where = "input[0].image_url.url"
    assert ask("data:image/png;base64,AAAA") == (400, "invalid_image_file", where)
    assert ask("data:image/png;base64,") == (400, "invalid_image_file", where)
    assert ask("https://example.org/a.png") == (400, "invalid_value", where)


def test_it_says_at_start_what_it_is(server: Server) -> None:
    assert "content policy: on (" in server.log.read_text()
