"""Says scenes in English or Chinese, in many phrasings, leaving some attributes out."""

import random
from collections.abc import Mapping
from dataclasses import replace

from .scenes import COLOURS, KINDS, MAX_SHAPES, PLACES, SIZES, Scene, Shape
from .words import (
    CHINESE,
    CHINESE_BACKGROUND,
    CHINESE_PLACES,
    CHINESE_RELATIONS,
    ENGLISH,
    ENGLISH_BACKGROUND,
    ENGLISH_PLACES,
    ENGLISH_RELATIONS,
)

OPPOSITE = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
CHOICES: Mapping[str, tuple[str, ...]] = {
    "kind": KINDS,
    "colour": tuple(COLOURS),
    "size": SIZES,
    "place": PLACES,
}
ATTRIBUTES = ("background", *(f"{name} {slot}" for slot in range(MAX_SHAPES) for name in CHOICES))
CLASSES = (
    len(COLOURS) + 1,
    *(len(values) + 2 for _ in range(MAX_SHAPES) for values in CHOICES.values()),
)
NATURAL = (
    0.7  # how often the left or upper shape is named first: more than half, or T5 learns no order
)
ENGLISH_FLUFF = (
    "a photo of",
    "a picture of",
    "draw",
    "please paint",
    "a cute",
    "minimal flat drawing of",
    "we see",
)
ENGLISH_TAIL = (
    "photorealistic",
    "4k, highly detailed",
    "vector art",
    "trending",
    "by a famous painter",
)
CHINESE_FLUFF = ("画", "请画", "一张图片:", "画面中有", "帮我画", "可爱的")
CHINESE_TAIL = ("高清", "插画风格", "简约", "写实")


def labels(said: Scene) -> list[int]:
    """The class of each of ATTRIBUTES: 0 unsaid, then its values, then that there is no shape."""
    found = [0 if said.background is None else 1 + list(COLOURS).index(said.background)]
    for slot in range(MAX_SHAPES):
        for name, values in CHOICES.items():
            value = getattr(said.shapes[slot], name) if slot < len(said.shapes) else len(values) + 1
            found.append(1 + values.index(value) if isinstance(value, str) else value or 0)
    return found


def forget(scene: Scene, rng: random.Random, unsaid: float = 0.12) -> Scene:
    """The scene as far as a prompt tells it; unsaid is how often that is without a background."""
    background = None if rng.random() < unsaid else scene.background
    return Scene(
        background,
        tuple(_forget_shape(shape, len(scene.shapes) > 1, rng) for shape in scene.shapes),
    )


def _forget_shape(shape: Shape, paired: bool, rng: random.Random) -> Shape:
    if shape.size != "small" and rng.random() < 0.4:
        shape = replace(shape, size=None)
    if shape.place == "centre" and rng.random() < 0.6:
        shape = replace(shape, place=None)
    if rng.random() < 0.04:
        shape = replace(shape, kind=None)
    if not paired and rng.random() < 0.06:
        shape = replace(shape, colour=None)
    return shape


def is_usual(scene: Scene) -> bool:
    """Whether it is what one expects of a prompt that names neither place nor size."""
    [first, *others] = scene.shapes
    return not others and first.place == "centre" and first.size != "small"


def forget_most(scene: Scene, rng: random.Random) -> Scene:
    """The one shape as it is mostly asked for: by kind and colour."""
    shape = replace(scene.shapes[0], size=None, place=None)
    return Scene(None if scene.expected and rng.random() < 0.8 else scene.background, (shape,))


def prompt(said: Scene, rng: random.Random, language: str | None = None) -> str:
    """One way of saying it, in "english", "chinese" or either."""
    language = language or rng.choice(("english", "chinese"))
    return english(said, rng) if language == "english" else chinese(said, rng)


def english(said: Scene, rng: random.Random) -> str:
    """The scene in English."""
    text = (
        _english_single(said.shapes[0], rng)
        if len(said.shapes) == 1
        else _english_pair(said.shapes, rng)
    )
    text = _english_background(text, said.background, rng)
    if rng.random() < 0.3:
        text = f"{rng.choice(ENGLISH_FLUFF)} {text}"
    if rng.random() < 0.2:
        text = f"{text}, {rng.choice(ENGLISH_TAIL)}"
    return text[:1].upper() + text[1:] if rng.random() < 0.3 else text


def _english_noun(shape: Shape, rng: random.Random, article: bool = True) -> str:
    words = [rng.choice(ENGLISH[value]) for value in (shape.size, shape.colour) if value]
    if rng.random() < 0.15:
        words.reverse()
    words.append(
        rng.choice(ENGLISH[shape.kind]) if shape.kind else rng.choice(("thing", "shape", "object"))
    )
    vowel = words[0][0] in "aeiou"
    return " ".join(
        [rng.choice(("an" if vowel else "a", "the", "one")), *words] if article else words
    )


def _english_single(shape: Shape, rng: random.Random) -> str:
    noun = _english_noun(shape, rng, rng.random() < 0.8)
    if shape.place is None:
        return noun
    place = rng.choice(ENGLISH_PLACES[shape.place])
    forms = (
        f"{noun} {place}",
        f"{noun}, {place}",
        f"{place}, {noun}",
        f"{place} {noun}",
        f"{noun} placed {place}",
    )
    return rng.choice(forms)


def _english_pair(shapes: tuple[Shape, ...], rng: random.Random) -> str:
    order = list(shapes) if rng.random() < NATURAL else list(reversed(shapes))
    first, second = (_english_noun(shape, rng) for shape in order)
    side = order[0].place or "left"
    if rng.random() < 0.5:
        relation = rng.choice(ENGLISH_RELATIONS[side])
        return rng.choice(
            (
                f"{first} {relation} {second}",
                f"{first} is {relation} {second}",
                f"{relation} {second}, {first}",
            )
        )
    here, there = rng.choice(ENGLISH_PLACES[side]), rng.choice(ENGLISH_PLACES[OPPOSITE[side]])
    if side == "left" and rng.random() < 0.5:
        return rng.choice(
            (f"{first} and {second}", f"{first}, {second}", f"{first} next to {second}")
        )
    return rng.choice((f"{first} {here} and {second} {there}", f"{here} {first}, {there} {second}"))


def _english_background(text: str, colour: str | None, rng: random.Random) -> str:
    if colour is None:
        return text
    name, ground = rng.choice(ENGLISH[colour]), rng.choice(ENGLISH_BACKGROUND)
    return rng.choice(
        (
            f"{text} on a {name} {ground}",
            f"{text} on a {name} {ground}",
            f"{text} with a {name} {ground}",
            f"{text}, {name} {ground}",
            f"{text} against a {name} {ground}",
            f"{text} on {name}",
            f"{text}, the {ground} is {name}",
            f"{text} with a {ground} of {name}",
            f"{text}, {ground}: {name}",
            f"{name} {ground}, {text}",
            f"{name} {ground} with {text}",
            f"on a {name} {ground}, {text}",
        )
    )


def chinese(said: Scene, rng: random.Random) -> str:
    """The scene in Chinese."""
    text = (
        _chinese_single(said.shapes[0], rng)
        if len(said.shapes) == 1
        else _chinese_pair(said.shapes, rng)
    )
    text = _chinese_background(text, said.background, rng)
    if rng.random() < 0.3:
        text = rng.choice(CHINESE_FLUFF) + text
    return f"{text},{rng.choice(CHINESE_TAIL)}" if rng.random() < 0.2 else text


def _chinese_noun(shape: Shape, rng: random.Random) -> str:
    words = [
        rng.choice(CHINESE[value]) + rng.choice(("", "的"))
        for value in (shape.size, shape.colour)
        if value
    ]
    if rng.random() < 0.3:
        words.reverse()
    kind = rng.choice(CHINESE[shape.kind]) if shape.kind else rng.choice(("东西", "图形", "物体"))
    return rng.choice(("一个", "一个", "一只", "")) + "".join(words) + kind


def _chinese_single(shape: Shape, rng: random.Random) -> str:
    noun = _chinese_noun(shape, rng)
    if shape.place is None:
        return noun
    place = rng.choice(CHINESE_PLACES[shape.place])
    forms = (
        f"{noun}在{place}",
        f"{place}有{noun}",
        f"{place}的{noun}",
        f"画面{place}是{noun}",
        f"{noun},位于{place}",
    )
    return rng.choice(forms)


def _chinese_pair(shapes: tuple[Shape, ...], rng: random.Random) -> str:
    order = list(shapes) if rng.random() < NATURAL else list(reversed(shapes))
    first, second = (_chinese_noun(shape, rng) for shape in order)
    side = order[0].place or "left"
    here, there = rng.choice(CHINESE_PLACES[side]), rng.choice(CHINESE_PLACES[OPPOSITE[side]])
    relation = rng.choice(CHINESE_RELATIONS[side])
    if rng.random() < 0.5:
        return rng.choice(
            (
                f"{first}在{second}{relation}",
                f"{first}在{second}{here}",
                f"{second}{relation}有{first}",
                f"{second}{relation}是{first}",
            )
        )
    if side == "left" and rng.random() < 0.5:
        return rng.choice((f"{first}和{second}", f"{first},{second}", f"{first}与{second}"))
    return rng.choice((f"{first}在{here},{second}在{there}", f"{here}是{first},{there}是{second}"))


def _chinese_background(text: str, colour: str | None, rng: random.Random) -> str:
    if colour is None:
        return text
    name, ground = rng.choice(CHINESE[colour]), rng.choice(CHINESE_BACKGROUND)
    return rng.choice(
        (
            f"{text},{name}{ground}",
            f"{text},{name}的{ground}",
            f"{text}在{name}{ground}",
            f"{name}{ground},{text}",
            f"{name}{ground}有{text}",
            f"在{name}的{ground},{text}",
            f"{text},背景是{name}",
            f"{text},背景为{name}",
            f"背景是{name}的,{text}",
            f"{text},背景:{name}",
            f"{text},背景颜色是{name}",
        )
    )
