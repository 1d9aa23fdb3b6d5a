"""docs/api.md names everything that the code has."""

import re
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

import server
from server import answers, routes
from server.answering import headers
from server.answering.inbox import JSON_LIMIT as JSON_EDIT_LIMIT
from server.reading import fetch, form, uploads
from server.reading.body import JSON_LIMIT
from server.reading.endpoints import CROP, EDITS, FILES, JSON_EDITS, VARIATIONS
from server.reading.profiles import DALL_E_2, DALL_E_3, EXTENSIONS, GPT_IMAGE_1, GPT_IMAGE_2_5, OPEN

DOCS = (Path(server.__file__).parents[1] / "docs" / "api.md").read_text(encoding="utf-8")
PROFILES = (DALL_E_2, DALL_E_3, GPT_IMAGE_1, GPT_IMAGE_2_5, OPEN)


def section(title: str) -> str:
    """The text under a heading, up to the next one of its level."""
    level = title.split()[0]
    return re.split(rf"^#{{1,{len(level)}}} ", DOCS.split(f"\n{title}\n")[1], flags=re.MULTILINE)[0]


def first_column(text: str) -> set[str]:
    """The names in backticks at the beginning of table rows."""
    rows = re.findall(r"^\| (`[^|]*`) \|", text, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_every_parameter_of_edits_and_variations_has_a_row() -> None:
    profiles = [
        profile
        for endpoint in (EDITS, JSON_EDITS, VARIATIONS)
        for _, profile in endpoint.families
        if profile
    ]
    known = {name for profile in profiles for name in profile.parameters}
    general = first_column(section("## Parameters"))
    edits = first_column(section("## Edits"))
    assert edits == {"image", "images", "mask", "input_fidelity"}
    assert edits <= known <= general | edits | {"crop"}


def test_every_parameter_of_files_is_named() -> None:
    assert all(f"`{name}`" in section("## Files") for name in FILES)


def test_the_limits_of_uploads() -> None:
    assert form.MOST_FILE_BYTES == 50 << 20 and form.MOST_BYTES == 256 << 20
    assert (form.MOST_PARTS, uploads.LONGEST_SIDE, fetch.WITHIN_S) == (100, 32_768, 20)
    assert f"{uploads.MOST_PIXELS:,} pixels" in section("## Edits")
    assert JSON_EDIT_LIMIT == 64 << 20


def test_every_parameter_has_a_row_and_every_row_a_parameter() -> None:
    known = {name for profile in PROFILES for name in profile.parameters}
    extensions = first_column(section("### Extensions"))
    assert extensions == {*EXTENSIONS, *CROP}
    assert first_column(section("## Parameters")) == {*known, *CROP}


def test_every_choice_is_named() -> None:
    for profile in PROFILES:
        for kind in profile.parameters.values():
            for value in getattr(kind, "values", ()):
                assert f"`{value}`" in DOCS


def test_every_header_has_a_row() -> None:
    rows = first_column(section("### Headers"))
    assert rows >= {headers.MODEL, headers.SEEDS, headers.IGNORED, *headers.CONSTANT}
    assert rows >= {"x-request-id", "openai-processing-ms", "x-should-retry"}
    assert rows >= {"retry-after", "retry-after-ms"}


def test_every_error_code_has_a_row() -> None:
    rows = re.findall(r"^\| (\d{3}) \| ([^|]+) \|", section("## Errors"), re.MULTILINE)
    told = {
        (int(status), code if code != "null" else None)
        for status, codes in rows
        for code in re.findall(r"[a-z_]+", codes)
    }
    hidden = {(499, None)}  # nobody reads it
    assert told == {(row.status, row.code) for row in answers.TABLE.values()} - hidden


def test_every_route_has_a_row() -> None:
    groups = [import_module(f"server.routes.{it.name}") for it in iter_modules(routes.__path__)]
    paths = {route.path for group in groups for route in group.router.routes}
    assert len(paths) > 12
    for path in paths:
        assert re.search(rf"`(GET|POST) {re.escape(path.split('{')[0])}", DOCS), path


def test_the_limit_of_a_body() -> None:
    assert JSON_LIMIT == 1 << 20
    assert "1 MiB" in DOCS


@pytest.mark.parametrize("kind", answers.TABLE)
def test_types_of_errors_are_those_of_the_contract(kind: type[Exception]) -> None:
    assert answers.TABLE[kind].type in {
        "invalid_request_error",
        "image_generation_user_error",
        "requests",
        "server_error",
        "service_unavailable_error",
    }
