"""The OpenAPI document of the server, made from the tables that decide.

It tells what every such server does: nothing of this one's models or settings. Knows the form of a
document; what is in it comes from `operations`, `schemas`, `shapes` and `answers`.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import orjson

from server import answers
from server.answering import headers
from server.document import shapes
from server.document.operations import JSON, OPERATIONS, Contents, Operation
from server.document.shapes import ref

_INFO = {
    "title": "darkroom",
    "version": "1",
    "description": "The OpenAI Images API, answered from models that run on this machine. The "
    "schema of an event stream is that of each of its events. In a form, values are text, and "
    "`null` means that a value is left out.",
}
_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": "Needed where the server has keys.",
}
_ALWAYS = ("x-request-id", "openai-processing-ms", *headers.CONSTANT)
_SOMETIMES = (headers.SERVED_AS, headers.IGNORED, headers.REWRITE, headers.UNREAD)
"""Headers that answers to a body may have."""
_WITH = {"401": ("www-authenticate",), "429": ("retry-after",)}
"""Headers of errors of a status."""


@cache
def rendered() -> bytes:
    """The document as it is served."""
    return orjson.dumps(document())


def document() -> dict[str, Any]:
    """The document as plain data."""
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), operation in OPERATIONS.items():
        paths.setdefault(path, {})[method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": _INFO,
        "paths": paths,
        "components": {
            "schemas": shapes.components(),
            "securitySchemes": {"key": _BEARER},
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "security": [{"key": []}] if operation.keyed else [],
        "parameters": [
            {"name": name, "in": it.place, "required": it.required, "schema": it.schema}
            for name, it in operation.parameters.items()
        ],
        "responses": _responses(operation),
    }
    if operation.body:
        content = {media: {"schema": schema} for media, schema in operation.body.items()}
        if operation.example:
            content[JSON]["example"] = operation.example
        described["requestBody"] = {"required": True, "content": content}
    return described


def _responses(operation: Operation) -> dict[str, Any]:
    maybe = _SOMETIMES if operation.body else ()
    good = _response("As it was asked for.", operation.answer, operation.headers, maybe)
    responses = {"200": good}
    for status, contents in operation.others.items():
        responses[status] = _response("See its content.", contents)
    for status, kinds in _by_status((*operation.fails, Exception)).items():
        failure = _failure(kinds, _WITH.get(status, ()))
        if status in operation.others:  # of which only the contents are known
            failure["content"] |= responses[status]["content"]
            failure["headers"] = responses[status]["headers"]
        responses[status] = failure
    return dict(sorted(responses.items()))


def _by_status(kinds: Iterable[type[Exception]]) -> Mapping[str, list[type[Exception]]]:
    by_status: dict[str, list[type[Exception]]] = {}
    for kind in kinds:
        by_status.setdefault(str(answers.TABLE[kind].status), []).append(kind)
    return by_status


def _failure(kinds: Sequence[type[Exception]], also: tuple[str, ...]) -> dict[str, Any]:
    """The answer to errors that share a status."""
    rows = [answers.TABLE[kind] for kind in kinds]
    codes = list(dict.fromkeys(row.code for row in rows))
    error = {"type": "object", "properties": {"code": {"enum": codes}}}
    schema = {**ref("Error"), "properties": {"error": error}}
    final = () if any(row.retry for row in rows) else ("x-should-retry",)
    told = " ".join(_cause(kind) for kind in kinds)
    maybe = ("retry-after", "retry-after-ms", "x-should-retry")
    return _response(told, {JSON: schema}, (*also, *final), maybe)


def _cause(kind: type[Exception]) -> str:
    """One kind of error: its code, and what it is."""
    if kind is Exception:
        return "Or the server is at fault, and its log says how."
    told = (kind.__doc__ or "").partition("\n")[0]
    code = answers.TABLE[kind].code
    return f"`{code}`: {told}" if code else told


def _response(
    told: str, contents: Contents, also: Iterable[str] = (), maybe: Iterable[str] = ()
) -> dict[str, Any]:
    """An answer: its headers are those of every answer, and those it has `also` or `maybe`."""
    always = {name: _header(name, required=True) for name in (*_ALWAYS, *also)}
    sometimes = {name: _header(name, required=False) for name in maybe}
    return {
        "description": told,
        "headers": sometimes | always,
        "content": {media: {"schema": schema} for media, schema in contents.items()},
    }


def _header(name: str, required: bool) -> dict[str, Any]:
    return {"required": required, "schema": shapes.HEADERS[name]}
