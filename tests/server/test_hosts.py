import pytest

from server.hosts import address, hostname, is_host, is_private_name, origin_of


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://app.example.org", "https://app.example.org"),
        ("https://App.Example.org:443/path/", "https://app.example.org"),
        ("http://localhost:3000/", "http://localhost:3000"),
        ("http://[::1]:80", "http://[::1]"),
        ("app://obsidian.md", "app://obsidian.md"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ("null", None),
        ("example.org", None),
        ("https://", None),
        ("http://[::1", None),
        ("http://x:99999", None),
        ("http://a b", None),
        ("https://*.example.org", None),
    ],
)
def test_origins_are_normalized_as_browsers_send_them(url: str, origin: str | None) -> None:
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1:8000", "[::1]:8000", "darkroom:8000", "box.local", "a.localhost",
     "host.docker.internal:8000", "10.1.2.3", "darkroom.default.svc.cluster.local", ""],
)  # fmt: skip
def test_names_that_no_public_dns_answers_for_are_private(host: str) -> None:
    assert is_private_name(hostname(host))


@pytest.mark.parametrize("host", ["evil.example.com:8000", "127.0.0.1.nip.io", "localhost.evil.io"])
def test_public_names_are_not_private(host: str) -> None:
    assert is_host(host)
    assert not is_private_name(hostname(host))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ('"[2001:db8::1]:4711"', "2001:db8::1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("unknown", None),
        ("_hidden", None),
        ("", None),
    ],
)
def test_addresses_are_read_in_every_spelling(text: str, found: str | None) -> None:
    assert address(text) == found
