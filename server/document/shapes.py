"""JSON Schemas of what is answered: images, events, errors, files, models, and the fleet's state.

The shapes are those of `responses`, `events` and `routes`. Knows no paths, and no statuses.
"""

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import TypeAdapter

from pipelines.content import CATEGORIES
from server import answers
from server.answering import headers
from server.callers.usage import FIELDS
from server.document.schemas import LORA, REFERENCE, Schema, schema_of
from server.fleet.status import DeviceStatus, FleetStatus, PolicyStatus
from server.prompts.moderations import MODELS
from server.prompts.rewriter import Outcome
from server.reading.contract import OutputFormat
from server.reading.profiles import GPT_IMAGE_2_5
from server.refusals import Stage

_COMPONENT = "#/components/schemas/"
_COUNT: Schema = {"type": "integer", "minimum": 0}
_WHOLE: Schema = {"type": "integer"}
_TEXT: Schema = {"type": "string"}
_BASE64: Schema = {"type": "string", "pattern": "^[A-Za-z0-9+/]+={0,2}$"}
_RESOLVED: Schema = {
    "size": {"type": "string", "pattern": "^[0-9]+x[0-9]+$"},
    "quality": schema_of(GPT_IMAGE_2_5.parameters["quality"]),
    "background": {"enum": ["opaque", "transparent"]},
    "output_format": {"enum": list(get_args(OutputFormat))},
}
HEADERS: Mapping[str, Schema] = {
    "x-request-id": {"type": "string", "pattern": "^req_[0-9a-f]{32}$"},
    "openai-processing-ms": {"type": "string", "pattern": "^[0-9]+$"},
    **{name: {"type": "string", "enum": [value]} for name, value in headers.CONSTANT.items()},
    headers.MODEL: _TEXT,
    headers.SERVED_AS: _TEXT,
    headers.SEEDS: {"type": "string", "pattern": "^[0-9]+(,[0-9]+)*$"},
    headers.IGNORED: {"type": "string", "minLength": 1},
    headers.REWRITE: {"type": "string", "enum": list(get_args(Outcome))},
    headers.UNREAD: {"type": "string", "pattern": "^[a-z_]+=[1-9][0-9]*(,[a-z_]+=[1-9][0-9]*)*$"},
    "retry-after": {"type": "string", "pattern": "^[1-9][0-9]*$"},
    "retry-after-ms": {"type": "string", "pattern": "^[1-9][0-9]*$"},
    "x-should-retry": {"type": "string", "enum": ["false"]},
    "www-authenticate": {"type": "string", "pattern": "^Bearer "},
}
"""The headers of answers."""


def ref(name: str) -> Schema:
    """A reference to one of the schemas of `components`."""
    return {"$ref": f"{_COMPONENT}{name}"}


def record(required: Schema, **optional: Schema) -> Schema:
    """An object of exactly these members."""
    return {
        "type": "object",
        "properties": {**required, **optional},
        "required": list(required),
        "additionalProperties": False,
    }


def listing(item: str) -> Schema:
    """A page of a list of a component's items."""
    end: Schema = {"type": ["string", "null"]}
    return record(
        {
            "object": {"const": "list"},
            "data": {"type": "array", "items": ref(item)},
            "first_id": end,
            "last_id": end,
            "has_more": {"type": "boolean"},
        }
    )


def event(name: str) -> Schema:
    """An event of a stream whose names begin with `name`: its two fields, and the JSON in one."""
    kinds = {
        f"{name}.partial_image": "PartialImage",
        f"{name}.completed": "CompletedImage",
        "error": "StreamError",
    }
    return {"anyOf": [_frame(kind, component) for kind, component in kinds.items()]}


def _frame(kind: str, component: str) -> Schema:
    content = {**ref(component), "properties": {"type": {"const": kind}}}
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": content}
    return {
        "type": "object",
        "properties": {"event": {"const": kind}, "data": data},
        "required": ["event", "data"],
    }


def components() -> dict[str, Schema]:
    """Every shape that has a name."""
    return {
        "ImageReference": REFERENCE,
        "Lora": LORA,
        "ImagesResponse": _images_response(),
        "Image": record({}, url=_TEXT, b64_json=_BASE64, revised_prompt=_TEXT, seed=_COUNT),
        "Usage": _usage(),
        "PartialImage": _event(partial_image_index=_COUNT),
        "CompletedImage": _event(
            usage=ref("Usage"),
            optional=("safety_identifier", "seed", "revised_prompt", "unread"),
        ),
        "StreamError": record({"type": {"const": "error"}, "error": ref("ErrorObject")}),
        "Error": record({"error": ref("ErrorObject")}),
        "ErrorObject": _error(),
        "File": _file(),
        "DeletedFile": record(
            {"id": _TEXT, "object": {"const": "file"}, "deleted": {"const": True}}
        ),
        "Model": record(
            {"id": _TEXT, "object": {"const": "model"}, "created": _WHOLE, "owned_by": _TEXT},
            loras={"type": "array", "items": _TEXT, "minItems": 1},
        ),
        "Readiness": _readiness(),
        "UsagePage": _usage_page(),
        "Moderation": _moderation(),
        **_dataclass(FleetStatus),
        **_dataclass(PolicyStatus),
        "ServerStatus": {
            **ref("FleetStatus"),
            "properties": {"policy": ref("PolicyStatus")},
            "required": ["policy"],
        },
    }


def _images_response() -> Schema:
    images = {"type": "array", "items": ref("Image"), "minItems": 1}
    return record(
        {"created": _WHOLE, "data": images},
        **_RESOLVED,
        usage=ref("Usage"),
        safety_identifier=_TEXT,
    )


def _usage() -> Schema:
    details = record({"image_tokens": _COUNT, "text_tokens": _COUNT})
    return record(
        {
            "input_tokens": _COUNT,
            "input_tokens_details": details,
            "output_tokens": _COUNT,
            "output_tokens_details": details,
            "total_tokens": _COUNT,
        }
    )


def _usage_page() -> Schema:
    unknown = ("project_id", "user_id")
    result = record(
        {
            "object": {"const": "organization.usage.images.result"},
            "images": _COUNT,
            "num_model_requests": _COUNT,
            **{name: {"type": ["string", "null"]} for name in (*FIELDS, *unknown)},
        }
    )
    bucket = record(
        {
            "object": {"const": "bucket"},
            "start_time": _COUNT,
            "end_time": _COUNT,
            "results": {"type": "array", "items": result},
        }
    )
    return record(
        {
            "object": {"const": "page"},
            "data": {"type": "array", "items": bucket},
            "has_more": {"type": "boolean"},
            "next_page": {"type": ["string", "null"]},
        }
    )


def _event(optional: tuple[str, ...] = (), **required: Schema) -> Schema:
    more = {
        "safety_identifier": _TEXT,
        "seed": _COUNT,
        "revised_prompt": _TEXT,
        "unread": record({}, prompt=_COUNT, negative_prompt=_COUNT),
    }
    return record(
        {"type": _TEXT, "b64_json": _BASE64, "created_at": _WHOLE, **_RESOLVED, **required},
        index=_COUNT,
        **{name: more[name] for name in optional},
    )


def _error() -> Schema:
    rows = answers.TABLE.values()
    return record(
        {
            "message": {"type": "string", "minLength": 1},
            "type": {"enum": sorted({row.type for row in rows})},
            "param": {"type": ["string", "null"]},
            "code": {"enum": [None, *sorted({row.code for row in rows if row.code})]},
        },
        moderation_details=record(
            {
                "moderation_stage": {"enum": list(get_args(Stage))},
                "categories": {"type": "array", "items": {"enum": list(CATEGORIES)}},
            }
        ),
    )


def _moderation() -> Schema:
    def each(schema: Schema) -> Schema:
        return record(dict.fromkeys(CATEGORIES, schema))

    kinds = {"type": "array", "items": {"enum": ["text", "image"]}}
    result = record(
        {
            "flagged": {"type": "boolean"},
            "categories": each({"type": "boolean"}),
            "category_scores": each({"type": "number", "minimum": 0, "maximum": 1}),
            "category_applied_input_types": each(kinds),
        }
    )
    return record(
        {
            "id": {"type": "string", "pattern": "^modr-[0-9a-f]{32}$"},
            "model": {"enum": list(MODELS)},
            "results": {"type": "array", "items": result, "minItems": 1},
        }
    )


def _file() -> Schema:
    return record(
        {
            "id": {"type": "string", "pattern": "^file-[A-Za-z0-9]{24}$"},
            "object": {"const": "file"},
            "bytes": _COUNT,
            "created_at": _WHOLE,
            "expires_at": _WHOLE,
            "filename": _TEXT,
            "purpose": {"const": "vision"},
            "status": {"const": "processed"},
        }
    )


def _readiness() -> Schema:
    known: Schema = _dataclass(DeviceStatus)["DeviceStatus"]["properties"]
    device = record({name: known[name] for name in ("id", "state", "loading")})
    return record({"ready": {"type": "boolean"}, "devices": {"type": "array", "items": device}})


def _dataclass(kind: type) -> dict[str, Any]:
    """The schemas of a dataclass and of those in it, by their names."""
    schema = TypeAdapter(kind).json_schema(
        mode="serialization", ref_template=f"{_COMPONENT}{{model}}"
    )
    return {**schema.pop("$defs", {}), kind.__name__: schema}
