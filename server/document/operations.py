"""Every operation of the server, as data for its OpenAPI document: what goes in and what comes out.

Knows methods, paths and which errors there can be; not how a document is put together.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Literal

from server import answers, errors
from server.answering import headers
from server.callers.pagination import FILES_QUERY, MODELS_QUERY
from server.callers.usage_query import PARAMETERS as USAGE
from server.document import shapes
from server.document.schemas import FILE, Schema, endpoint_schema, schema_of, table_schema
from server.document.shapes import listing, record, ref
from server.prompts.moderations import BODY as MODERATIONS
from server.prompts.moderations import REQUIRED as MODERATIONS_REQUIRED
from server.reading.endpoints import (
    EDITS,
    FILES,
    FILES_REQUIRED,
    GENERATIONS,
    JSON_EDITS,
    VARIATIONS,
)
from server.reading.kinds import Table
from server.refusals import NotJudged

JSON, FORM, STREAM, TEXT = (
    "application/json",
    "multipart/form-data",
    "text/event-stream",
    "text/plain",
)
PICTURES = ("image/png", "image/jpeg", "image/webp")

Contents = Mapping[str, Schema]
"""Schemas by media type."""
Failures = tuple[type[Exception], ...]


@dataclass(frozen=True, slots=True)
class Parameter:
    """Something of a request that is not its body."""

    place: Literal["path", "query", "header"]
    schema: Schema
    required: bool = True


@dataclass(frozen=True, slots=True)
class Operation:
    """A method of a path."""

    id: str
    summary: str
    answer: Contents
    _: KW_ONLY
    headers: Sequence[str] = ()
    """Of the good answer: those that it always has, beyond those of every answer."""
    others: Mapping[str, Contents] = field(default_factory=dict)
    """What else is answered, by status."""
    body: Contents = field(default_factory=dict)
    example: Schema | None = None
    """A body in JSON."""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    faults: Failures = ()
    keyed: bool = True
    refuses_query: bool = True
    """Whether a query parameter that is not among `parameters` is an error."""

    @property
    def fails(self) -> Failures:
        """Beyond an error that nobody foresaw."""
        foreign = (errors.OriginNotAllowed,) if self.body else ()
        query = (errors.UnknownParameter,) if self.refuses_query else ()
        key = _KEY if self.keyed else ()
        every = (*key, *self.faults, *query, *foreign, errors.HostNotAllowed)
        return tuple(dict.fromkeys(every))


def _json(schema: Schema) -> Contents:
    return {JSON: schema}


def _one(name: str) -> Contents:
    return _json(ref(name))


def _query(table: Table, required: Collection[str] = ()) -> Mapping[str, Parameter]:
    return {
        name: Parameter("query", schema_of(kind), name in required) for name, kind in table.items()
    }


_KEY: Failures = (errors.MissingKey, errors.WrongKey)
_BODY = tuple(kind for kind in answers.TABLE if issubclass(kind, errors.InvalidRequest))
_QUERY: Failures = (
    errors.MissingParameter,
    errors.UnknownParameter,
    errors.InvalidType,
    errors.InvalidValue,
    errors.StringTooLong,
    errors.IntegerTooSmall,
    errors.IntegerTooLarge,
)
_NO_FILE: Failures = (errors.FileNotStored, errors.UnknownPath)
_NO_MODEL: Failures = (errors.ModelNotFound, errors.UnknownPath)
_NO_RESULT: Failures = (
    errors.LinkInvalid,
    errors.LinkExpired,
    errors.ResultNotFound,
    errors.UnknownPath,
)
_ELSEWHERE = {*_KEY, *_NO_FILE, *_NO_MODEL, *_NO_RESULT}
_NOT_OF_A_METHOD = {errors.MethodNotSupported, errors.ClientDisconnected, Exception}
_MAKING = tuple(kind for kind in answers.TABLE if kind not in _ELSEWHERE | _NOT_OF_A_METHOD)
_BYTES: Contents = dict.fromkeys(PICTURES, FILE)
_PLAIN: Schema = {"type": "string"}
_RANGES: Mapping[str, Contents] = {
    "206": {**_BYTES, "multipart/byteranges": FILE},
    "400": {TEXT: _PLAIN},
    "416": {TEXT: _PLAIN},
}
_SOME_TEXT: Schema = {"type": "string", "minLength": 1}
_RANGE = {"range": Parameter("header", {"type": "string"}, required=False)}
_ID = {"id": Parameter("path", _SOME_TEXT)}
_LINK = {
    "name": Parameter("path", _SOME_TEXT),
    **dict.fromkeys(("st", "se", "sig"), Parameter("query", {"type": "string"})),
    **_RANGE,
}


def _making(
    id: str, summary: str, body: Contents, events: str | None = None, example: Schema | None = None
) -> Operation:
    """An operation that makes images; `events`: how the names of its stream's begin."""
    return Operation(
        id,
        summary,
        {JSON: ref("ImagesResponse"), **({STREAM: shapes.event(events)} if events else {})},
        headers=(headers.MODEL, headers.SEEDS),
        body=body,
        example=example,
        faults=_MAKING,
    )


_PROMPT = "a large red circle on a blue background"
_RESULT = Operation(
    "fetchResult",
    "A finished image behind its signed link, which is good for an hour.",
    _BYTES,
    parameters=_LINK,
    others=_RANGES,
    faults=_NO_RESULT,
    keyed=False,
    refuses_query=False,
)


def _open_to_all(id: str, summary: str, answer: Contents) -> Operation:
    """An operation for people, that needs no key."""
    return Operation(id, summary, answer, keyed=False, refuses_query=False)


_INDEX = record(
    dict.fromkeys(("name", "version", "base_url", "models", "docs", "openapi", "ready"), _PLAIN)
)

OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("get", "/"): _open_to_all("root", "What this server is.", _json(_INDEX)),
    ("get", "/v1"): _open_to_all("api", "The same, at the base URL of clients.", _json(_INDEX)),
    ("get", "/docs"): _open_to_all("docs", "This document as a page.", {"text/html": _PLAIN}),
    ("get", "/favicon.ico"): _open_to_all("favicon", "An icon.", {"image/svg+xml": _PLAIN}),
    ("post", "/v1/images/generations"): _making(
        "createImage",
        "Make images of a prompt.",
        _json(endpoint_schema(GENERATIONS)),
        "image_generation",
        example={"model": "dall-e-3", "prompt": _PROMPT},
    ),
    ("post", "/v1/images/edits"): _making(
        "createImageEdit",
        "Repaint a part of a picture, or all of it.",
        {FORM: endpoint_schema(EDITS), JSON: endpoint_schema(JSON_EDITS)},
        "image_edit",
    ),
    ("post", "/v1/images/variations"): _making(
        "createImageVariation", "Make images like a picture.", {FORM: endpoint_schema(VARIATIONS)}
    ),
    ("post", "/v1/moderations"): Operation(
        "createModeration",
        "What the content policy finds in texts and pictures.",
        _one("Moderation"),
        body=_json(table_schema(MODERATIONS, MODERATIONS_REQUIRED)),
        example={"input": _PROMPT},
        faults=(*_BODY, NotJudged),
    ),
    ("post", "/v1/files"): Operation(
        "createFile",
        "Keep a picture for an hour, to be pointed to by its id.",
        _one("File"),
        body={FORM: table_schema(FILES, FILES_REQUIRED)},
        faults=(*_BODY, errors.ResultNotStored),
    ),
    ("get", "/v1/files"): Operation(
        "listFiles",
        "The caller's files, a page at a time, the newest first.",
        _json(listing("File")),
        parameters=_query(FILES_QUERY),
        faults=_QUERY,
    ),
    ("get", "/v1/files/{id}"): Operation(
        "retrieveFile", "What is known of a file.", _one("File"), parameters=_ID, faults=_NO_FILE
    ),
    ("delete", "/v1/files/{id}"): Operation(
        "deleteFile", "Forget a file.", _one("DeletedFile"), parameters=_ID, faults=_NO_FILE
    ),
    ("get", "/v1/files/{id}/content"): Operation(
        "downloadFile",
        "The file itself.",
        _BYTES,
        parameters={**_ID, **_RANGE},
        others=_RANGES,
        faults=_NO_FILE,
    ),
    ("get", "/v1/models"): Operation(
        "listModels",
        "Every name that can be sent as `model`, a page at a time.",
        _json(listing("Model")),
        parameters=_query(MODELS_QUERY),
        faults=_QUERY,
    ),
    ("get", "/v1/models/{id}"): Operation(
        "retrieveModel", "One of the names.", _one("Model"), parameters=_ID, faults=_NO_MODEL
    ),
    ("get", "/images/{name}"): _RESULT,
    ("head", "/images/{name}"): replace(
        _RESULT, id="describeResult", summary="The headers of a finished image."
    ),
    ("get", "/healthz"): Operation(
        "healthz",
        "200 as long as the server lives.",
        _json(record({"status": {"const": "ok"}})),
        keyed=False,
    ),
    ("get", "/readyz"): Operation(
        "readyz",
        "200 once every device has loaded its models; until then 503 and how far it is.",
        _one("Readiness"),
        others={"503": _one("Readiness")},
        keyed=False,
    ),
    ("get", "/status"): Operation(
        "status", "Every device and the queue, as they are now.", _one("ServerStatus")
    ),
    ("get", "/metrics"): Operation(
        "metrics",
        "What happened and how it goes, for Prometheus.",
        dict.fromkeys((TEXT, "application/openmetrics-text"), _PLAIN),
    ),
    ("get", "/v1/organization/usage/images"): Operation(
        "imagesUsage",
        "How many images were made, in buckets of time.",
        _one("UsagePage"),
        parameters=_query(USAGE, required=("start_time",)),
        faults=_QUERY,
    ),
    ("get", "/openapi.json"): Operation(
        "openapi", "This document.", _json({"type": "object"}), keyed=False
    ),
}
