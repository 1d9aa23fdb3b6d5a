"""A local language model, a real one: what it is given to read, and when it stops."""

import json
from pathlib import Path

import pytest
import torch

from pipelines.aide.writing import Writer
from pipelines.questions import Turn, Write, Written
from pipelines.weights.manifest import Manifest, WeightsError, hash_files
from pipelines.weights.staging import finish
from tests.tiny_writer import SENTENCE, writer

TURNS = (Turn("system", "word it"), Turn("user", "a red circle"))


def never() -> bool:
    return False


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return writer(tmp_path_factory.mktemp("writer"))


def test_it_goes_on_with_a_conversation(folder: Path) -> None:
    tool = Writer(folder, "cpu")
    assert tool.answer(Write(TURNS, 64), never) == Written(SENTENCE)
    assert tool.answer(Write(TURNS, 3), never) == Written("A large red")


def test_a_model_without_a_template_reads_plain_lines(tmp_path: Path) -> None:
    tool = Writer(writer(tmp_path, chat=None), "cpu")
    assert tool.answer(Write(TURNS, 64), never) == Written(SENTENCE)


def test_the_template_is_what_the_model_reads(tmp_path: Path) -> None:
    chat = "{% for it in messages %}{{ it.content }} {{ it.role }} {% endfor %}"
    tool = Writer(writer(tmp_path, "system word it user A circle", chat=chat), "cpu")
    assert tool.answer(Write(TURNS, 2), never) == Written("A circle")
    assert tool.answer(Write(TURNS[:1], 2), never) == Written("word it")


def test_a_template_without_a_systems_turn(tmp_path: Path) -> None:
    refusing = "{% if it.role == 'system' %}{{ raise_exception('none') }}{% endif %}"
    chat = "{% for it in messages %}" + refusing + "{{ it.content }} {% endfor %}<go>"
    tool = Writer(writer(tmp_path, chat=chat), "cpu")
    assert tool.answer(Write(TURNS, 2), never) == Written("A large")


def test_it_stops_when_the_answer_is_of_no_use(tmp_path: Path) -> None:
    tool = Writer(writer(tmp_path, endless=True), "cpu")
    asked: list[int] = []

    def over() -> bool:
        asked.append(1)
        return len(asked) > 5

    answer = tool.answer(Write(TURNS, 10_000), over)
    assert isinstance(answer, Written)
    assert len(answer.text.split()) <= 6


def test_what_is_too_long_is_not_read(folder: Path) -> None:
    turns = (Turn("user", "word " * 9000),)
    with pytest.raises(ValueError, match="too long"):
        Writer(folder, "cpu").answer(Write(turns, 64), never)


def test_only_what_the_manifest_says_is_loaded(tmp_path: Path) -> None:
    folder = writer(tmp_path)
    files = [it.name for it in folder.iterdir()]
    finish(folder, Manifest(files=hash_files(folder, files)))
    Writer(folder, "cpu")
    (folder / "tokenizer_config.json").write_text("{}")
    with pytest.raises(WeightsError, match="changed: tokenizer_config"):
        Writer(folder, "cpu")


def test_code_beside_the_weights_is_refused(tmp_path: Path) -> None:
    config = writer(tmp_path) / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"auto_map": {"x": "y.Z"}}))
    with pytest.raises(WeightsError, match="auto_map"):
        Writer(tmp_path, "cpu")


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    folder = writer(tmp_path)
    weights = folder / "model.safetensors"
    torch.save({}, folder / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(OSError, match="safetensors"):
        Writer(folder, "cpu")
