"""JSON Schemas of what may be sent: of each kind, and of all families of an endpoint together.

What a parameter may be depends on the model; a schema knows no such thing. So it has the union over
the families, and its description says which of them takes what. Knows tables; not paths, nor
answers.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import reduce
from typing import Any

from server.callers.queries import Items
from server.prompts.moderations import MOST_PARTS, TEXT, Inputs
from server.reading.endpoints import MOST_IMAGES, Endpoint
from server.reading.kinds import (
    Anything,
    Boolean,
    Choice,
    Integer,
    Kind,
    Number,
    OnlyFalse,
    Settled,
    Table,
    Text,
)
from server.reading.loras import NAME, SCALE, Loras
from server.reading.references import LONGEST_URL, OneReference, References, Uploads
from server.reading.sizes import FixedSize, FreeSize, ListedSize

Schema = dict[str, Any]

FILE: Schema = {"type": "string", "format": "binary"}
REFERENCE: Schema = {
    "description": "A picture: a data URL, or the id of a file that was sent before. "
    "An https URL where the server was started with --allow-image-urls.",
    "type": "object",
    "properties": {
        "image_url": {"type": ["string", "null"], "maxLength": LONGEST_URL},
        "file_id": {"type": ["string", "null"]},
    },
    "additionalProperties": False,
}
_URL = "^([dD][aA][tT][aA]:|[hH][tT][tT][pP][sS]?://)"
_REFERENCE = {"$ref": "#/components/schemas/ImageReference"}
LORA: Schema = {
    "description": "Low-rank weights of the folder of LoRAs, and how strongly they pull.",
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": NAME.longest},
        "scale": {"type": ["number", "null"], "minimum": SCALE.low, "maximum": SCALE.high},
    },
    "required": ["name"],
    "additionalProperties": False,
}
_LORA = {"$ref": "#/components/schemas/Lora"}
_WIDEST: Mapping[str, Callable[[Any, Any], Any]] = {
    "minimum": min,
    "maximum": max,
    "minLength": min,
    "maxLength": max,
    "enum": lambda one, other: list(dict.fromkeys((*one, *other))),
}

MEANINGS: Mapping[str, str] = {
    "prompt": "What is to be seen.",
    "model": "A name of `GET /v1/models`; of moderations, one of the original's.",
    "n": "How many images.",
    "size": "`WIDTHxHEIGHT`, or `auto`.",
    "quality": "The model's preset of steps and guidance.",
    "response_format": "A link that is good for an hour, or the file itself.",
    "output_format": "The kind of file.",
    "output_compression": "The quality of JPEG and WebP; below 100 refused with PNG.",
    "background": "`transparent` where a matting model is installed, or a mask leaves some.",
    "style": "What the prompt is dressed in, where the answer tells what the model was given.",
    "moderation": "With `low`, the content policy refuses less.",
    "user": "Where there is no `safety_identifier`, the GPT image names take it for that.",
    "safety_identifier": "Repeated in the answer by the GPT image names.",
    "stream": "Whether the images come as events.",
    "partial_images": "How many previews of each image a stream shows.",
    "seed": "Of the first image; the others count up. Random for -1. The same seed makes the same.",
    "steps": "`num_inference_steps`.",
    "guidance_scale": "How closely the prompt is followed.",
    "negative_prompt": "What is not to be seen.",
    "strength": "How far an edit or a variation leaves its picture behind.",
    "loras": "LoRAs that the images are made with, an array; in a form, as JSON.",
    "prompt_rewrite": "Whether the prompt is rewritten; the answer tells what the model was given.",
    "crop": "Whether a small region is rendered with its surroundings alone.",
    "image": "The picture, a PNG, a JPEG or a WebP. Of an edit's several, the first is edited; "
    "`image[]` is the same.",
    "images": "The pictures. The first is edited.",
    "mask": "Transparent where the first picture is to be painted anew; of its size.",
    "input_fidelity": "With `high`, a picture that is remade as a whole stays nearer to itself.",
    "input": "A text, an array of texts, or an array of parts that are judged as one.",
    "file": "A PNG, a JPEG or a WebP.",
    "purpose": "What the file is for.",
    "expires_after[anchor]": "Changes nothing: a file lives for an hour.",
    "expires_after[seconds]": "Changes nothing: a file lives for an hour.",
}
"""What each parameter is for, in a sentence."""


def endpoint_schema(endpoint: Endpoint) -> Schema:
    """The body of an endpoint, whatever its model."""
    families = [(_called(pattern), it.parameters) for pattern, it in endpoint.families if it]
    names = dict.fromkeys(name for _, table in families for name in table)
    properties = {name: _across(name, families, endpoint.required) for name in names}
    return _body(properties, endpoint.required)


def table_schema(table: Table, required: Collection[str]) -> Schema:
    """The body of an endpoint that knows no families."""
    properties = {name: _across(name, [("", table)], required) for name in table}
    return _body(properties, required)


def schema_of(kind: Kind) -> Schema:
    """What a kind accepts; raises TypeError for one that is not known here."""
    match kind:
        case Anything():
            return {}
        case Text(longest, may_be_empty):
            least = {} if may_be_empty else {"minLength": 1}
            return {"type": "string", **least, "maxLength": longest}
        case Integer(low, high):
            return {"type": "integer", "minimum": low, "maximum": high}
        case Number(low, high):
            return {"type": "number", "minimum": low, "maximum": high}
        case Boolean():
            return {"type": "boolean"}
        case OnlyFalse():
            return {"type": "boolean", "enum": [False]}
        case Choice(values) | ListedSize(values) | FixedSize(values):
            return {"type": "string", "enum": list(values)}
        case Settled(choice, _):
            return schema_of(choice)
        case FreeSize():
            return {"type": "string", "pattern": "^(auto|[0-9]{1,6}x[0-9]{1,6})$"}
        case _:
            return _composed(kind)


def _composed(kind: Kind) -> Schema:
    match kind:
        case Uploads(only_one=True):
            return FILE
        case Uploads():
            several = {"type": "array", "items": FILE, "minItems": 1, "maxItems": MOST_IMAGES}
            return {"anyOf": [FILE, several]}
        case References(most):
            return {"type": "array", "items": _REFERENCE, "minItems": 1, "maxItems": most}
        case OneReference():
            return _REFERENCE
        case Loras(most):
            return {"type": "array", "items": _LORA, "maxItems": most}
        case Inputs():
            return _inputs()
        case Items(one):
            return {"type": "array", "items": schema_of(one)}
    raise TypeError(f"there is no schema of {kind}")


def _inputs() -> Schema:
    text = schema_of(TEXT)
    url = {"type": "string", "maxLength": LONGEST_URL, "pattern": _URL}
    picture = _exactly({"url": url})
    part = {
        "anyOf": [
            _exactly({"type": {"const": "text"}, "text": text}),
            _exactly({"type": {"const": "image_url"}, "image_url": picture}),
        ]
    }
    several = {"type": "array", "minItems": 1, "maxItems": MOST_PARTS}
    return {"anyOf": [text, {**several, "items": text}, {**several, "items": part}]}


def _exactly(properties: Schema) -> Schema:
    """An object of these members, all of which it has."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def union(schemas: Iterable[Schema]) -> Schema:
    """What any of the schemas accepts."""
    alternatives = reduce(_put, schemas, list[Schema]())
    return alternatives[0] if len(alternatives) == 1 else {"anyOf": alternatives}


def _put(known: list[Schema], schema: Schema) -> list[Schema]:
    for index, other in enumerate(known):
        joined = _join(other, schema)
        if joined is not None:
            return [*known[:index], joined, *known[index + 1 :]]
    return [*known, schema]


def _join(one: Schema, other: Schema) -> Schema | None:
    """One schema for what either accepts; None where only `anyOf` can say it."""
    if one.get("type") != other.get("type"):
        return None
    if one == other or _covers(one, other):
        return one
    if _covers(other, one):
        return other
    common = one.keys() & other.keys()
    if common not in (one.keys(), other.keys()):
        return None
    return {
        key: _WIDEST[key](one[key], other[key]) if key in _WIDEST else one[key]
        for key in one
        if key in common
    }


def _covers(pattern: Schema, choice: Schema) -> bool:
    """Whether all words of a choice fit a pattern."""
    if "pattern" not in pattern or "enum" not in choice:
        return False
    return all(re.search(pattern["pattern"], word) for word in choice["enum"])


def _body(properties: Schema, required: Collection[str]) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name in required],
        "additionalProperties": {"type": "null"},  # as good as nothing, whatever it is called
    }


def _across(name: str, families: list[tuple[str, Table]], required: Collection[str]) -> Schema:
    """One parameter: what any of the families takes, and what each of them does."""
    taken = [(who, schema_of(table[name])) for who, table in families if name in table]
    schema = union(schema for _, schema in taken)
    if name not in required and schema != FILE:
        schema = _or_null(schema)
    alike = len(taken) == len(families) and all(it == taken[0][1] for _, it in taken)
    meaning = MEANINGS[name] if alike else f"{MEANINGS[name]} By model: {_by_family(taken)}."
    return {"description": meaning, **schema}


def _by_family(taken: list[tuple[str, Schema]]) -> str:
    families: dict[str, list[str]] = {}
    for who, schema in taken:
        families.setdefault(_in_words(schema), []).append(who)
    return "; ".join(f"{', '.join(who)}: {what}" for what, who in families.items())


def _or_null(schema: Schema) -> Schema:
    """A parameter that may be left out may be null."""
    if "anyOf" in schema:
        return {"anyOf": [*schema["anyOf"], {"type": "null"}]}
    if "type" not in schema:
        return {"anyOf": [schema, {"type": "null"}]} if schema else {}
    more = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return {**schema, "type": [schema["type"], "null"], **more}


def _in_words(schema: Schema) -> str:
    match schema:
        case {"enum": values}:
            return ", ".join(f"`{value}`".lower() for value in values)
        case {"minimum": low, "maximum": high}:
            return f"{low} to {high}" if low < high else str(low)
        case {"maxLength": longest}:
            return f"at most {longest} characters"
        case {"pattern": _}:
            return "any within limits"
    return "yes"


def _called(pattern: str) -> str:
    """A family's pattern as it is read by people."""
    names = re.sub(r"\([^)]*\)\?|\.\*", "…", pattern).split("|")
    told = [name for name in names if not re.search(r"[\[\\]", name)]  # other spellings of these
    return ", ".join("every other name" if name == "…" else f"`{name}`" for name in told)
