"""Prompts through a real server: templates, languages, and a rewriter in a process of its own."""

import base64
import os
import signal
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from tests.live import ROOT, serving
from tests.server.sockets import wait_for
from tests.tiny_writer import writer
from tools.train_demo.measure import measure

PROMPT = "a large red circle on a blue background"
CHINESE = "一个大的红色圆形,蓝色背景"
RUSSIAN = "большой красный круг на синем фоне"
REVISED = "One large red circle on blue background"
QUALITIES = ("standard", "hd")
REWRITE = "x-darkroom-rewrite"


def client_of(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, trust_env=False, timeout=60)


@pytest.fixture(scope="module")
def plain(plain_url: str) -> Iterator[httpx.Client]:
    with client_of(plain_url) as client:
        yield client


@pytest.fixture(scope="module")
def rewriting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """One with a local rewriter, that words every prompt alike."""
    folder = tmp_path_factory.mktemp("rewriting")
    writer(folder / "writer", REVISED)
    (folder / "more.yaml").write_text("rewriter: {source: writer, timeout: 5}\n")
    files = [f"--weights={ROOT / 'weights.yaml'}", f"--weights={folder / 'more.yaml'}"]
    with serving(folder / "data", *files) as url, client_of(url) as client:
        wait_for(lambda: aide(client)["state"] == "ready")
        yield client


def aide(client: httpx.Client) -> Any:
    return client.get("/status").json()["aide"]


def ask(client: httpx.Client, prompt: str = PROMPT, **more: object) -> httpx.Response:
    body = {"model": "dall-e-3", "prompt": prompt, "seed": 7, "response_format": "b64_json"}
    answer = client.post("/v1/images/generations", json=body | more)
    assert answer.status_code == 200, answer.text
    return answer


def picture(answer: httpx.Response) -> Image.Image:
    return Image.open(BytesIO(base64.b64decode(answer.json()["data"][0]["b64_json"])))


def revised(answer: httpx.Response) -> str:
    text: str = answer.json()["data"][0]["revised_prompt"]
    assert picture(answer).text["prompt"] == text, "it is what the model was really given"
    return text


def seen(answer: httpx.Response) -> tuple[str, str, str]:
    """(colour, kind, background) of the only shape."""
    pixels = np.asarray(picture(answer).resize((256, 256)))
    (image,) = measure(torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1)
    (blob,) = image.blobs
    return blob.colour, blob.kind, image.background


def test_a_chinese_prompt_is_read_as_it_is(plain: httpx.Client) -> None:
    answer = ask(plain, CHINESE)
    assert seen(answer) == ("red", "circle", "blue")
    assert revised(answer) == CHINESE
    assert "x-darkroom-ignored" not in answer.headers


def test_a_language_that_is_not_read_is_told_of(plain: httpx.Client) -> None:
    answer = ask(plain, RUSSIAN)
    assert answer.headers["x-darkroom-ignored"] == "language"
    assert revised(answer) == RUSSIAN


@pytest.mark.parametrize("prompt", [PROMPT, CHINESE])
def test_styles_and_qualities_differ_and_are_told_and_right(
    plain: httpx.Client, prompt: str
) -> None:
    ways = [{"style": style, "quality": it} for style in ("vivid", "natural") for it in QUALITIES]
    answers = [ask(plain, prompt, **way) for way in ways]
    assert len({revised(answer) for answer in answers}) == 4
    assert all(prompt in revised(answer) for answer in answers)
    assert len({picture(answer).tobytes() for answer in answers}) == 4
    assert {seen(answer) for answer in answers} == {("red", "circle", "blue")}
    assert all("x-darkroom-ignored" not in answer.headers for answer in answers)
    steps = [int(picture(answer).text["steps"]) for answer in answers]
    assert steps[1] > steps[0] == steps[2] < steps[3]


def test_the_model_draws_what_the_rewriter_wrote(rewriting: httpx.Client) -> None:
    answer = ask(rewriting, RUSSIAN)
    assert answer.headers["x-darkroom-rewrite"] == "done"
    assert revised(answer) == REVISED
    assert seen(answer) == ("red", "circle", "blue")
    again = ask(rewriting, RUSSIAN)
    assert picture(again).tobytes() == picture(answer).tobytes()
    chinese = ask(rewriting, CHINESE)  # it only writes English
    assert chinese.headers["x-darkroom-rewrite"] == "unusable"
    assert revised(chinese) == CHINESE


def test_no_image_waits_for_the_rewriter(rewriting: httpx.Client) -> None:
    """Stopped in the midst of a prompt, it holds up that prompt alone, and for its time alone."""
    late: list[httpx.Response] = []
    stopped = psutil.Process(aide(rewriting)["pid"])
    stopped.suspend()
    waiting = threading.Thread(target=lambda: late.append(ask(rewriting, RUSSIAN)))
    try:
        waiting.start()
        wait_for(lambda: aide(rewriting)["waiting"] == 1)
        made = [ask(rewriting, model="demo"), ask(rewriting, prompt_rewrite=False)]
        assert [seen(answer) for answer in made] == [("red", "circle", "blue")] * 2
        assert aide(rewriting)["waiting"] == 1 and late == []
        waiting.join(60)
    finally:
        stopped.resume()
    assert late[0].headers["x-darkroom-rewrite"] == "timeout"
    assert late[0].headers["x-darkroom-ignored"] == "language"
    assert revised(late[0]) == RUSSIAN
    assert ask(rewriting).headers["x-darkroom-rewrite"] == "done"


def test_a_rewriter_that_dies_costs_the_revision_and_comes_back(rewriting: httpx.Client) -> None:
    killed = aide(rewriting)
    os.kill(killed["pid"], signal.SIGKILL)
    wait_for(lambda: aide(rewriting)["deaths"] == killed["deaths"] + 1)
    answer = ask(rewriting)
    assert answer.headers["x-darkroom-rewrite"] in ("failed", "timeout", "done")
    assert seen(answer) == ("red", "circle", "blue")
    wait_for(lambda: ask(rewriting, model="demo", prompt_rewrite=True).headers[REWRITE] == "done")


def test_the_status_tells_of_the_aide(plain: httpx.Client, rewriting: httpx.Client) -> None:
    assert aide(plain) is None
    told = aide(rewriting)
    assert (told["device"], told["state"], told["ready"]) == ("auto", "ready", ["writer"])
    assert (
        Path(f"/proc/{told['pid']}/cmdline").read_bytes().split(b"\0")[2] == b"pipelines.aide.aide"
    )
