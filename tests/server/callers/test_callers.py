from typing import Any

import pytest

from server.callers.callers import Caller, described, split_attributes
from server.config import ConfigError


def test_attributes_stand_behind_a_key_in_any_order() -> None:
    text = "alice:sk-a priority=low  weight=2.5 in-queue=4\timages-per-minute=30 admin=true"
    text += " policy=strict"
    rest, attributes = split_attributes(text)
    assert rest == "alice:sk-a"
    caller = Caller("alice", **attributes)
    assert caller == Caller("alice", 2.5, "low", 30, 4, True, "strict")


@pytest.mark.parametrize(
    "text",
    ["sk-a", "weight=2", "alice:weight=2", "sk-YQ==", "alice: sk-YQ==", "alice :\t sk-YQ="],
)
def test_what_is_no_attribute_is_left_alone(text: str) -> None:
    assert split_attributes(text) == (text, {})


@pytest.mark.parametrize(
    "text", ["k weight=much", "k in-queue=1.5", "k admin=yes", "k images-per-minute="]
)
def test_an_attribute_that_is_not_understood(text: str) -> None:
    with pytest.raises(ConfigError, match="is not understood"):
        split_attributes(text)


@pytest.mark.parametrize("text", ["k wieght=2", "k imagesperminute=3", "k in_queue=4 weight=2"])
def test_a_slip_of_the_pen_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match=f"^there is no {text.split()[1].split('=')[0]}=; "):
        split_attributes(text)


@pytest.mark.parametrize("text", ["Alice c2stMTIz==", "Alice c2stMTIz= weight=2", "Al c2st=MTIz"])
def test_what_may_be_a_key_is_not_told(text: str) -> None:
    with pytest.raises(ConfigError, match="behind the key is not understood; there are") as error:
        split_attributes(text)
    assert "c2st" not in str(error.value) and "MTIz" not in str(error.value)


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        ({"name": "x" * 101}, "a name"),
        ({"name": "a\nb"}, "a name"),
        ({"name": " a"}, "a name"),
        ({"weight": 0}, "weight"),
        ({"weight": float("nan")}, "weight"),
        ({"weight": float("inf")}, "weight"),
        ({"priority": "huge"}, "priority"),
        ({"images_per_minute": 0}, "images-per-minute"),
        ({"in_queue": -1}, "in-queue"),
        ({"in_queue": 2**63}, "in-queue"),
        ({"policy": "sometimes"}, "policy must be off, on, strict"),
    ],
)
def test_what_nobody_can_have(attributes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=f"^{says}"):
        Caller(**attributes)


def test_the_largest_request_is_that_of_the_tighter_limit() -> None:
    assert Caller().most_at_once == float("inf")
    assert Caller(images_per_minute=3).most_at_once == 3
    assert Caller(images_per_minute=3, in_queue=2).most_at_once == 2


def test_only_what_is_not_usual_is_described() -> None:
    assert list(described(Caller("a"))) == []
    told = dict(described(Caller("a", 2.5, "high", None, 4, True)))
    assert told == {"weight": "2.5", "priority": "high", "in-queue": "4", "admin": "true"}
