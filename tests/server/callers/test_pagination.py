import pytest

from server.callers.pagination import cursor_page, ids_after
from server.errors import InvalidValue


@pytest.mark.parametrize(
    ("there", "limit", "has_more"), [(0, 1, False), (2, 2, False), (3, 2, True)]
)
def test_cursor_page_says_whether_items_are_left(there: int, limit: int, has_more: bool) -> None:
    page = cursor_page([{"id": str(number)} for number in range(there)], limit)
    assert (len(page["data"]), page["has_more"]) == (min(there, limit), has_more)
    assert page["first_id"] == (page["data"][0]["id"] if there else None)
    assert page["last_id"] == (page["data"][-1]["id"] if there else None)


def test_ids_after_the_cursor_in_either_order() -> None:
    assert ids_after("abc", "a") == "bc"
    assert ids_after("abc", "b", "desc") == "a"
    with pytest.raises(InvalidValue):
        ids_after("abc", "d")
