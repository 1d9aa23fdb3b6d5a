"""Data URLs are decoded as browsers decode them."""

import base64

import pytest

from server.reading.data_urls import decode_data_url, is_data_url

DATA = bytes(range(256)) + b"abcd"
TEXT = base64.b64encode(DATA).decode()
PERCENT = "".join(f"%{byte:02x}" for byte in DATA)


def test_the_example_needs_padding_and_both_special_characters() -> None:
    assert TEXT.endswith("=") and "+" in TEXT and "/" in TEXT


@pytest.mark.parametrize(
    "url",
    [
        f"data:image/png;base64,{TEXT}",
        f"DATA:image/png;BASE64,{TEXT}",
        f"data:;base64,{TEXT}",
        f"data:image/png; base64,{TEXT}",
        f"data:image/png;name=a.png;charset=utf-8;base64,{TEXT}",
        f'data:image/png;name="a;b";base64 ,{TEXT}',
        f"data:image/png;base64,{TEXT.rstrip('=')}",
        f"data:image/png;base64,{TEXT[:76]}\r\n{TEXT[76:]}\r\n",
        f"data:image/png;base64,\n  {TEXT[:30]}\t{TEXT[30:-1]} {TEXT[-1:]}  ",
        f"data:image/png;\r\n base64,{TEXT}",
        f" \n data:image/png;base64,{TEXT}\n",
        "data:image/png;base64," + TEXT.replace("+", "%2B").replace("=", "%3D"),
        "data:image/png;base64," + TEXT.replace("/", "%2F%0A"),
        "data:image/png;base64," + TEXT.replace("+", "-").replace("/", "_"),
        f"data:image/png,{PERCENT}",
        f"data:,{PERCENT}#fragment",
        f"data:image/png;base64;x=y,{PERCENT}",  # base64 only counts at the end
    ],
)
def test_well_formed(url: str) -> None:
    assert is_data_url(url)
    assert decode_data_url(url) == DATA


@pytest.mark.parametrize(
    "url",
    [
        "data:",
        "data:image/png;base64",
        "data:image/png;base64,!!",
        "data:image/png;base64,A",
        "data:image/png;base64,AAAAA",
        "data:image/png;base64,AA=",
        "data:image/png;base64,AA===",
        "data:image/png;base64,=AAA",
        "data:image/png;base64,AA==AAAA",
        "data:image/png;base64,ÄÄÄÄ",
        "data:image/png;base64,%ff%ff%ff%ff",
        "data:image/png;base64,\ud800AAA",
    ],
)
def test_malformed_ones_are_empty(url: str) -> None:
    assert decode_data_url(url) == b""


@pytest.mark.parametrize("url", ["", "http://data:80/", "image/png;base64,AAAA", "database:x"])
def test_other_urls(url: str) -> None:
    assert not is_data_url(url)


def test_a_surplus_of_bits_is_dropped() -> None:
    assert decode_data_url("data:;base64,YR") == b"a"
    assert decode_data_url("data:;base64,YWJ=") == b"ab"
