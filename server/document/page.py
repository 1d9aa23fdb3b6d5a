"""The OpenAPI document as a page for people: plain HTML, without scripts."""

from collections.abc import Iterator, Mapping
from functools import cache
from html import escape
from typing import Any

from server.document.openapi import document

ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" '
    'rx="6" fill="#222"/><circle cx="16" cy="16" r="9" fill="#d22"/></svg>'
)
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "color-scheme:light dark}code{font-family:ui-monospace,monospace}summary{cursor:pointer;"
    "padding:.3rem 0}table{border-collapse:collapse;margin:.5rem 0 1rem 1rem}"
    "td{padding:.15rem 1rem .15rem 0;vertical-align:top}"
)


@cache
def rendered() -> str:
    """Render the page; links are relative, so that it works below a proxy's prefix."""
    described = document()
    operations = [
        _operation(method, path, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>darkroom</title>'
        f'<link rel="icon" href="favicon.ico"><style>{_STYLE}</style></head><body>'
        f"<h1>darkroom</h1><p>{escape(described['info']['description'])}</p>"
        '<p>All of it for programs: <a href="openapi.json">openapi.json</a></p>'
        f"{''.join(operations)}</body></html>"
    )


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    heading = f"<code><b>{method.upper()}</b> {escape(path)}</code> {escape(operation['summary'])}"
    key = "" if operation["security"] else "<p>Needs no key.</p>"
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(place)}</td>"
        f"<td>{escape(told)}</td></tr>"
        for name, place, told in _parameters(operation)
    )
    answers = "".join(
        f"<tr><td>{status}</td><td>{escape(answer['description'])}</td></tr>"
        for status, answer in operation["responses"].items()
    )
    return (
        f"<details><summary>{heading}</summary>{key}<table>{rows}</table>"
        f"<table>{answers}</table></details>"
    )


def _parameters(operation: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """List the name, the place and the values of each parameter."""
    for parameter in operation["parameters"]:
        yield parameter["name"], parameter["in"], _values(parameter["schema"])
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        schema = content["schema"]
        for name, values in schema.get("properties", {}).items():
            required = "required; " if name in schema.get("required", ()) else ""
            yield name, media, required + _values(values)


def _values(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(str(value) for value in schema["enum"])
    kinds = schema.get("type") or [
        _values(each) for key in ("anyOf", "oneOf") for each in schema.get(key, ())
    ]
    return kinds if isinstance(kinds, str) else " or ".join(kind for kind in kinds if kind)
