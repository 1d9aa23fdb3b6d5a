"""Every operation of the server, as data for its OpenAPI document: what goes in and what comes out.

Knows methods, paths and which errors there can be; not how a document is put together.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from server import answers, errors
from server.answering import headers
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A method of a path."""

    id: str
    summary: str
    answer: Contents
    headers: Sequence[str] = ()
    """Of the good answer: those that it always has, beyond those of every answer."""
    others: Mapping[str, Contents] = field(default_factory=dict)
    """What else is answered, by status."""
    body: Contents = field(default_factory=dict)
    example: Schema | None = None
    """A body in JSON."""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    fails: Failures = ()
    """Beyond an error that nobody foresaw."""
    keyed: bool = True


def _json(schema: Schema) -> Contents:
    return {JSON: schema}


def _query(table: Table, required: Collection[str]) -> Mapping[str, Parameter]:
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
_NO_FILE: Failures = (*_KEY, errors.FileNotStored, errors.UnknownPath)
_NO_MODEL: Failures = (*_KEY, errors.ModelNotFound, errors.UnknownPath)
_NO_RESULT: Failures = (
    errors.LinkInvalid,
    errors.LinkExpired,
    errors.ResultNotFound,
    errors.UnknownPath,
)
_ELSEWHERE = {*_NO_FILE, *_NO_MODEL, *_NO_RESULT} - {*_KEY}
_NOT_OF_A_METHOD = {errors.MethodNotSupported, errors.ClientDisconnected, Exception}
_MAKING = tuple(kind for kind in answers.TABLE if kind not in _ELSEWHERE | _NOT_OF_A_METHOD)
_OF_IMAGES = (headers.MODEL, headers.SEEDS)
_IMAGES: Schema = ref("ImagesResponse")
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

OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("post", "/v1/images/generations"): Operation(
        id="createImage",
        summary="Make images of a prompt.",
        body=_json(endpoint_schema(GENERATIONS)),
        example={"model": "dall-e-3", "prompt": "a large red circle on a blue background"},
        answer={JSON: _IMAGES, STREAM: shapes.event("image_generation")},
        headers=_OF_IMAGES,
        fails=_MAKING,
    ),
    ("post", "/v1/images/edits"): Operation(
        id="createImageEdit",
        summary="Repaint a part of a picture, or all of it.",
        body={FORM: endpoint_schema(EDITS), JSON: endpoint_schema(JSON_EDITS)},
        answer={JSON: _IMAGES, STREAM: shapes.event("image_edit")},
        headers=_OF_IMAGES,
        fails=_MAKING,
    ),
    ("post", "/v1/images/variations"): Operation(
        id="createImageVariation",
        summary="Make images like a picture.",
        body={FORM: endpoint_schema(VARIATIONS)},
        answer=_json(_IMAGES),
        headers=_OF_IMAGES,
        fails=_MAKING,
    ),
    ("post", "/v1/moderations"): Operation(
        id="createModeration",
        summary="What the content policy finds in texts.",
        body=_json(table_schema(MODERATIONS, MODERATIONS_REQUIRED)),
        example={"input": "a large red circle on a blue background"},
        answer=_json(ref("Moderation")),
        fails=(*_KEY, *_BODY, NotJudged),
    ),
    ("post", "/v1/files"): Operation(
        id="createFile",
        summary="Keep a picture for an hour, to be pointed to by its id.",
        body={FORM: table_schema(FILES, FILES_REQUIRED)},
        answer=_json(ref("File")),
        fails=(*_KEY, *_BODY, errors.ResultNotStored),
    ),
    ("get", "/v1/files"): Operation(
        id="listFiles",
        summary="The caller's files, the newest first.",
        answer=_json(listing("File")),
        fails=_KEY,
    ),
    ("get", "/v1/files/{id}"): Operation(
        id="retrieveFile",
        summary="What is known of a file.",
        parameters=_ID,
        answer=_json(ref("File")),
        fails=_NO_FILE,
    ),
    ("delete", "/v1/files/{id}"): Operation(
        id="deleteFile",
        summary="Forget a file.",
        parameters=_ID,
        answer=_json(ref("DeletedFile")),
        fails=_NO_FILE,
    ),
    ("get", "/v1/files/{id}/content"): Operation(
        id="downloadFile",
        summary="The file itself.",
        parameters={**_ID, **_RANGE},
        answer=_BYTES,
        others=_RANGES,
        fails=_NO_FILE,
    ),
    ("get", "/v1/models"): Operation(
        id="listModels",
        summary="Every name that can be sent as `model`.",
        answer=_json(listing("Model")),
        fails=_KEY,
    ),
    ("get", "/v1/models/{id}"): Operation(
        id="retrieveModel",
        summary="One of the names.",
        parameters=_ID,
        answer=_json(ref("Model")),
        fails=_NO_MODEL,
    ),
    ("get", "/images/{name}"): Operation(
        id="fetchResult",
        summary="A finished image behind its signed link, which is good for an hour.",
        parameters=_LINK,
        answer=_BYTES,
        others=_RANGES,
        fails=_NO_RESULT,
        keyed=False,
    ),
    ("head", "/images/{name}"): Operation(
        id="describeResult",
        summary="The headers of a finished image.",
        parameters=_LINK,
        answer=_BYTES,
        others=_RANGES,
        fails=_NO_RESULT,
        keyed=False,
    ),
    ("get", "/healthz"): Operation(
        id="healthz",
        summary="200 as long as the server lives.",
        answer=_json(record({"status": {"const": "ok"}})),
        keyed=False,
    ),
    ("get", "/readyz"): Operation(
        id="readyz",
        summary="200 once every device has loaded its models; until then 503 and how far it is.",
        answer=_json(ref("Readiness")),
        others={"503": _json(ref("Readiness"))},
        keyed=False,
    ),
    ("get", "/status"): Operation(
        id="status",
        summary="Every device and the queue, as they are now.",
        answer=_json(ref("ServerStatus")),
        fails=_KEY,
    ),
    ("get", "/metrics"): Operation(
        id="metrics",
        summary="What happened and how it goes, for Prometheus.",
        answer=dict.fromkeys((TEXT, "application/openmetrics-text"), _PLAIN),
        fails=_KEY,
    ),
    ("get", "/v1/organization/usage/images"): Operation(
        id="imagesUsage",
        summary="How many images were made, in buckets of time.",
        parameters=_query(USAGE, required=("start_time",)),
        answer=_json(ref("UsagePage")),
        fails=(*_KEY, *_QUERY),
    ),
    ("get", "/openapi.json"): Operation(
        id="openapi",
        summary="This document.",
        answer=_json({"type": "object"}),
        keyed=False,
    ),
}
