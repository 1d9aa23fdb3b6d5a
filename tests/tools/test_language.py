"""Prompts say what their scene holds, and the tokenizers keep exactly the language's words."""

import random

import pytest
from transformers import PreTrainedTokenizerFast

from tools.train_demo import tokenizers
from tools.train_demo.evaluate import HELD_OUT_PHRASINGS
from tools.train_demo.language import ATTRIBUTES, CLASSES, forget, labels, prompt
from tools.train_demo.scenes import Scene, Shape, random_scene
from tools.train_demo.tokenizers import (
    CLIP_LENGTH,
    MOST_WORDS,
    REGISTERS,
    T5_LENGTH,
    clip_tokenizer,
    t5_tokenizer,
)
from tools.train_demo.words import CHINESE, ENGLISH

ON_WHITE = ["on", "white"]


@pytest.fixture(scope="module")
def clip() -> PreTrainedTokenizerFast:
    return clip_tokenizer()


@pytest.fixture(scope="module")
def t5() -> PreTrainedTokenizerFast:
    return t5_tokenizer()


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", []),
        ("A RED circle, drawn on a redwood desk on Monday", ["red", "circle"]),
        (
            "a cute orange cat in space with purple nebula background",
            ["orange", "purple", "background"],
        ),
        ("a star on a blue  backdrop", ["star", "on", "blue", "backdrop"]),
        ("a disc to the left of a box", ["disc", "to the left of", "box"]),
        ("一个大的红色圆形,蓝色背景", ["大", "红色", "圆形", "蓝色", "背景"]),
        (
            "红色圆形在蓝色正方形的左边,背景:黄色",
            ["红色", "圆形", "蓝色", "正方形", "的左边", "背景:", "黄色"],
        ),
        ("白色菱形在上方", ["白色", "菱形", "上方"]),
        ("a red circle in front of a plain white wall", ["red", "circle", *ON_WHITE, "background"]),
        ("a red circle over a white background", ["red", "circle", *ON_WHITE, "background"]),
        ("a red circle set against white", ["red", "circle", *ON_WHITE]),
        ("a red circle on a plain, white curtain", ["red", "circle", "white"]),
        (
            "a red circle above a large white box",
            ["red", "circle", "above", "large", "white", "box"],
        ),
        ("a red circle over the white shape", ["red", "circle", "over", "white"]),
        ("a red star in front of trees and a blue box", ["red", "star", "blue", "box"]),
        ("a yellow star in a black sky", ["yellow", "star", "black", "background"]),
        ("a wall and a sheet of paper", []),
        ("白色墙壁前的红色圆形", ["白色", "背景", "红色", "圆形"]),
        ("红色圆形挂在白色的墙上", ["红色", "圆形", "白色", "背景上"]),
        ("红色圆形,背后是一片白色", ["红色", "圆形", "背景是", "白色"]),
    ],
)
def test_only_words_of_the_language_stay(
    clip: PreTrainedTokenizerFast, text: str, kept: list[str]
) -> None:
    assert clip.tokenize(text) == kept


def test_a_long_prompt_is_honoured_to_its_end(t5: PreTrainedTokenizerFast) -> None:
    assert t5.tokenize("nothing of note, " * 250 + "a pink heart") == ["pink", "heart"]


@pytest.mark.parametrize("text", ["", "a red star", "blue " * 100])
def test_ids_are_framed_and_padded(
    clip: PreTrainedTokenizerFast, t5: PreTrainedTokenizerFast, text: str
) -> None:
    for tokenizer, length in ((clip, CLIP_LENGTH), (t5, T5_LENGTH)):
        assert tokenizer.model_max_length == length
        ids = tokenizer(text, padding="max_length", max_length=length, truncation=True).input_ids
        assert len(ids) == length
        assert ids.count(tokenizer.eos_token_id) == 1
    assert t5.convert_ids_to_tokens(ids)[: len(REGISTERS)] == list(REGISTERS)


def test_every_prompt_is_within_the_vocabulary_and_the_length(
    clip: PreTrainedTokenizerFast,
) -> None:
    rng = random.Random(0)
    for _ in range(500):
        said = forget(random_scene(rng), rng)
        ids = clip(prompt(said, rng)).input_ids
        assert clip.unk_token_id not in ids
        assert len(ids) <= MOST_WORDS + 2


def test_prompts_of_the_grammar_are_not_reworded(monkeypatch: pytest.MonkeyPatch) -> None:
    reworded = t5_tokenizer()
    monkeypatch.setattr(tokenizers, "rewordings", list)
    plain, rng = t5_tokenizer(), random.Random(8)
    for _ in range(1500):
        text = prompt(forget(random_scene(rng), rng), rng)
        assert reworded.tokenize(text) == plain.tokenize(text), text


@pytest.mark.parametrize("language", ["english", "chinese"])
def test_every_held_out_phrasing_says_that_its_colour_is_the_background_s(
    t5: PreTrainedTokenizerFast, language: str
) -> None:
    name = {"english": "blue", "chinese": "蓝色"}[language]
    text = {"english": "a red circle", "chinese": "红色圆形"}[language]
    for form in HELD_OUT_PHRASINGS[language]:
        words = t5.tokenize(form.format(text=text, name=name))
        place = words.index(name)
        neighbours = {*words[max(place - 1, 0) : place], *words[place + 1 : place + 2]}
        assert neighbours & {"on", "background", "backdrop", "背景", "背景上", "背景是"}, words


@pytest.mark.parametrize("language", ["english", "chinese"])
def test_a_prompt_names_everything_that_is_said(language: str) -> None:
    rng, names = random.Random(6), ENGLISH if language == "english" else CHINESE
    for _ in range(300):
        said = forget(random_scene(rng), rng)
        text = prompt(said, rng, language).lower()
        values = [said.background, *(v for s in said.shapes for v in (s.kind, s.colour, s.size))]
        assert all(any(name in text for name in names[value]) for value in values if value), (
            said,
            text,
        )


def test_labels_fit_their_classes() -> None:
    rng = random.Random(7)
    for scene in (Scene(None, ()), *(forget(random_scene(rng), rng) for _ in range(200))):
        found = labels(scene)
        assert len(found) == len(ATTRIBUTES) == len(CLASSES)
        assert all(0 <= label < count for label, count in zip(found, CLASSES, strict=True))


def test_labels_tell_unsaid_from_absent() -> None:
    found = dict(
        zip(ATTRIBUTES, labels(Scene(None, (Shape("circle", "red", None, "left"),))), strict=True)
    )
    assert found == {
        "background": 0, "kind 0": 1, "colour 0": 1, "size 0": 0, "place 0": 2,
        "kind 1": 9, "colour 1": 11, "size 1": 4, "place 1": 6,
    }  # fmt: skip
