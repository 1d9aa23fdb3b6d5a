import pytest

from server.config import ConfigError
from server.keeping.moments import moment, shown

NOW = 1_000_000_000.0  # 2001-09-09 01:46 UTC


@pytest.mark.parametrize(
    ("text", "seconds"), [("30d", 2_592_000), ("12h", 43_200), ("5m", 300), ("2w", 1_209_600)]
)
def test_a_span_is_ahead_or_back(text: str, seconds: int) -> None:
    assert moment("--expires", text, NOW, ahead=True) == NOW + seconds
    assert moment("--since", text, NOW, ahead=False) == NOW - seconds


def test_a_day_begins_in_utc() -> None:
    assert moment("--since", "2001-09-09", NOW, ahead=False) == 999_993_600
    assert moment("--since", "2001-09-09T01:00+01:00", NOW, ahead=False) == 999_993_600


@pytest.mark.parametrize(
    "text", ["", "30", "d", "30 days", "-3d", "2001-13-01", "tomorrow", "0d", "999999w"]
)
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(ConfigError, match="^--expires"):
        moment("--expires", text, NOW, ahead=True)


def test_it_lies_where_it_should() -> None:
    with pytest.raises(ConfigError, match="does not lie in the future"):
        moment("--expires", "2001-09-09", NOW, ahead=True)
    with pytest.raises(ConfigError, match="does not lie in the past"):
        moment("--since", "2001-09-10", NOW, ahead=False)


def test_it_is_shown_to_the_minute() -> None:
    assert shown(NOW) == "2001-09-09 01:46"
