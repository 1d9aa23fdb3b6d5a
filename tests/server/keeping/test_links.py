import stat
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from server.errors import LinkExpired, LinkInvalid
from server.keeping.links import Links, load_key

NAME = "img-" + "a" * 24 + ".png"
NOW = 1_800_000_000.5


@pytest.fixture
def links() -> Links:
    return Links(b"k" * 32)


def parts(url: str) -> tuple[str, str, str]:
    query = parse_qs(urlsplit(url).query, strict_parsing=True)
    return query["st"][0], query["se"][0], query["sig"][0]


def test_a_link_is_absolute_and_good_for_an_hour(links: Links) -> None:
    url = links.make("https://images.example.org/base", NAME, NOW)
    assert url.startswith(f"https://images.example.org/base/images/{NAME}?st=")
    links.check(NAME, *parts(url), NOW)
    links.check(NAME, *parts(url), NOW + 3599)
    with pytest.raises(LinkExpired):
        links.check(NAME, *parts(url), NOW + 3601)


def test_a_changed_link_is_refused(links: Links) -> None:
    start, end, signature = parts(links.make("", NAME, NOW))
    later = end.replace("2027", "2099")
    assert later != end
    for changed in (
        (NAME, start, later, signature),
        (NAME, later, end, signature),
        (NAME.replace("a", "b"), start, end, signature),
        (NAME, start, end, signature[:-1]),
        (NAME, start, end, ""),
        (NAME, start, end, "é"),
    ):
        with pytest.raises(LinkInvalid):
            links.check(*changed, NOW)


def test_another_key_does_not_open_it(links: Links) -> None:
    signed = parts(links.make("", NAME, NOW))
    with pytest.raises(LinkInvalid):
        Links(b"x" * 32).check(NAME, *signed, NOW)


def test_the_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    file = tmp_path / "link.key"
    key = load_key(file)
    assert len(key) == 32
    assert load_key(file) == key
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert load_key(tmp_path / "other.key") != key


def test_a_key_that_was_never_finished_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "link.key").write_bytes(b"")
    assert len(load_key(tmp_path / "link.key")) == 32
