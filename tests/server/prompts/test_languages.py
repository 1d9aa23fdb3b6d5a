"""Languages are told by their letters; within a script only what surely is another one."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.prompts.languages import _identifier, likeliest, prepare, reads

ENGLISH = (
    "a red circle",
    "café in Zürich, jalapeño on a piñata",
    'a shop sign that says "欢迎光临"',
    "Ein roter Kreis",  # too short to be sure
    "espresso macchiato",
    "Taj Mahal",
    "art nouveau poster",
    "tapas bar in Barcelona",
    "Don Quixote and Sancho Panza",
    "masterpiece, best quality, 1girl, solo, long hair, looking at viewer",
    "1girl, solo, 4k, 8k!!",
    "Москва skyline at night, oil painting, golden hour",
    "🦊",
    "",
    "A",
    "a cat @ 家",
)
HARMLESS = [
    line
    for line in (Path(__file__).parent / "harmless.txt").read_text().splitlines()
    if line.isascii()
]
FOREIGN = (
    "一个大的红色圆形",
    "窗台上的猫, 4k",
    "猫が窓辺で寝ている",
    "창가에서 자는 고양이",
    "красный круг",
    "دائرة حمراء",
    "लाल घेरा",
    "วงกลมสีแดง",
    "עיגול אדום",
    "ένας κόκκινος κύκλος",
    "a 红色的大圆形在蓝色背景上",
    "ein großer roter Kreis auf blauem Grund",
    "un gato naranja en el espacio",
    "une vieille femme assise dans un jardin",
    "una donna con un vestito rosso sulla spiaggia",
    "een oranje kat in de ruimte",
    "duże czerwone koło na niebieskim tle",
    "uzayda turuncu bir kedi",
    "một vòng tròn lớn màu đỏ trên nền xanh",
    "kucing oranye di luar angkasa",
)


@pytest.mark.parametrize("prompt", ENGLISH)
def test_what_is_mostly_latin_is_read_by_who_reads_english(prompt: str) -> None:
    assert reads(("en",), prompt)


def test_names_and_rare_words_are_not_foreign() -> None:
    """But for a prompt that is Latin, nearly all of it."""
    assert len(HARMLESS) > 150
    assert [it for it in HARMLESS if not reads(("en",), it)] == ["Magna cum laude diploma"]


@pytest.mark.parametrize("prompt", FOREIGN)
def test_other_languages_are_not(prompt: str) -> None:
    assert not reads(("en",), prompt)


@pytest.mark.parametrize(
    ("languages", "prompt", "known"),
    [
        (("en", "zh"), "一个大的红色圆形", True),
        (("en", "zh"), "窗台上的猫, 4k, photo", True),
        (("en", "zh"), "猫が窓辺で寝ている", False),
        (("en", "zh"), "大きな赤い円、青い背景", False),
        (("en", "zh"), "ein großer roter Kreis auf blauem Grund", False),
        (("de",), "ein großer roter Kreis auf blauem Grund", True),
        (("de",), "a large red circle on a blue background", False),
        (("en", "de"), "a large red circle on a blue background", True),
        (("pt",), "uma mulher com vestido vermelho na praia", True),
        (("tlh",), "ein großer roter Kreis auf blauem Grund", True),  # who knows
        (("en", "ja"), "猫が窓辺で寝ている", True),
        (("en", "zh"), "красный круг", False),
        (("ru",), "красный круг", True),
        (("ru",), "a red circle", False),
        (("zh",), "红色", True),
        (("en",), "a red circle " + "红" * 10_000, False),
        (("en",), "a red circle " * 400 + "红" * 100_000, True),  # its beginning tells
        (("en",), "ＲＥＤ　ＣＩＲＣＬＥ", True),
    ],
)
def test_several_languages(languages: tuple[str, ...], prompt: str, known: bool) -> None:
    assert reads(languages, prompt) is known


def test_the_likeliest_of_several() -> None:
    assert likeliest(("en", "zh"), "一个圆") == "zh"
    assert likeliest(("en", "zh"), "a circle") == "en"
    assert likeliest(("zh", "en"), "123") == "zh"
    assert likeliest(("en", "de"), "ein großer roter Kreis auf blauem Grund") == "de"
    assert likeliest(("de", "en"), "a large red circle on a blue background") == "en"
    assert likeliest(("en", "zh"), "画 a circle with a star in it") == "en"
    assert likeliest(("de", "en", "it"), "una donna con un vestito rosso sulla spiaggia") == "it"


@pytest.mark.parametrize("languages", [("en", "de", "fr", "es", "it", "pt"), ("de", "en")])
@pytest.mark.parametrize(
    "prompt", ["cat", "logo", "art nouveau poster", "Taj Mahal", "tapas bar", "🦊🦊", ""]
)
def test_a_few_words_are_in_the_first_one(languages: tuple[str, ...], prompt: str) -> None:
    """What a name sounds like would choose the language of a rewriter's answer."""
    assert likeliest(languages, prompt) == languages[0]


@given(st.text(max_size=60))
def test_any_text_can_be_asked_about(text: str) -> None:
    assert isinstance(reads(("en", "zh"), text), bool)
    assert likeliest(("en", "zh"), text) in ("en", "zh")


def test_the_classifier_is_there_before_it_is_asked() -> None:
    _identifier.cache_clear()
    prepare()
    assert _identifier.cache_info().currsize == 1
