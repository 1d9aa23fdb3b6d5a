"""What fits beside what, and who is in the way."""

from hypothesis import given
from hypothesis import strategies as st

from pipelines.models.footprints import size_of
from pipelines.models.room import Room

PARTS = st.dictionaries(st.sampled_from("abcdef"), st.just(10), max_size=4)


def room(**models: dict[str, int]) -> Room:
    found = Room(100)
    for model, parts in models.items():
        found.add(model, parts)
    return found


def test_the_least_recently_used_one_is_in_the_way_first() -> None:
    found = room(a={"a": 40}, b={"b": 30}, c={"c": 20})
    assert found.used == 90
    assert found.in_the_way({"d": 10}) == []
    assert found.in_the_way({"d": 11}) == ["a"]
    found.use("a")
    assert found.in_the_way({"d": 11}) == ["b"]
    assert found.in_the_way({"d": 80}) == ["b", "c", "a"]


def test_what_models_share_is_counted_once() -> None:
    found = room(a={"t5": 50, "a": 10}, b={"t5": 50, "b": 10})
    assert found.used == 70
    assert found.in_the_way({"t5": 50, "c": 30}) == []
    assert found.in_the_way({"c": 31}) == ["a"]
    assert found.in_the_way({"c": 41}) == ["a", "b"], "the text encoder stays with the other one"
    assert found.fits_alone({"c": 100}) and not found.fits_alone({"c": 100, "d": 1})


@given(st.lists(PARTS, max_size=5), PARTS, st.integers(0, 60))
def test_what_is_left_fits_and_no_fewer_would(
    models: list[dict[str, int]], parts: dict[str, int], budget: int
) -> None:
    found = Room(budget)
    for number, each in enumerate(models):
        found.add(str(number), each)
    leaving = found.in_the_way(parts)
    assert leaving == [str(number) for number in range(len(leaving))], "the oldest ones"
    rest = models[len(leaving) :]
    assert not rest or size_of(*rest, parts) <= budget
    assert not leaving or size_of(*models[len(leaving) - 1 :], parts) > budget
