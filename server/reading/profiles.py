"""What each family of model names promises: data, one `Profile` a family.

A table of parameters is in the order in which they are checked. Knows names and limits; not which
models are installed, nor how a value is read.
"""

from dataclasses import dataclass, replace
from typing import Literal

from server.reading.kinds import (
    Anything,
    Boolean,
    Choice,
    Integer,
    Kind,
    Number,
    OnlyFalse,
    OnlyOne,
    Settled,
    Table,
    Text,
)
from server.reading.loras import Loras
from server.reading.sizes import FixedSize, FreeSize, ListedSize, Size

ResponseFormat = Literal["url", "b64_json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The contract of one family of names."""

    parameters: Table
    """What may be sent, in the order of checking."""
    default_size: Size | None = (1024, 1024)
    """None: that of the picture that is worked on."""
    response_format: ResponseFormat = "url"
    """How an image is handed over when the request does not say."""
    ignored: frozenset[str] = frozenset()
    """Parameters that are accepted and change nothing; the answer names them."""
    beyond: frozenset[str] = frozenset()
    """Parameters that the original refuses for these names, and so does a strict server."""
    revises: bool = False
    """Whether each image comes with the prompt that the model was really given."""
    describes: bool = False
    """Whether the answer tells size, quality, format and usage."""


RANDOM_SEED = -1
"""Asks for a random seed, as leaving the parameter out does."""
MAX_SEED = 2**64 - 1

EXTENSIONS: Table = {
    "seed": Integer(RANDOM_SEED, MAX_SEED),
    "steps": Integer(1, 500),
    "guidance_scale": Number(0, 100),
    "negative_prompt": Text(32000),
    "strength": Number(0, 1),
    "loras": Loras(most=8),
    "prompt_rewrite": Boolean(),
}
"""What darkroom takes beyond the original, on every profile."""

_BEYOND = frozenset({*EXTENSIONS, "crop"})
_LEVELS = ("low", "medium", "high")
_COMMON: Table = {"user": Anything(), "safety_identifier": Text(1024)}
_FORMATS = Choice(("url", "b64_json"))
_DALL_E: Table = {
    "response_format": _FORMATS,
    "style": Choice(("vivid", "natural")),
    "stream": OnlyFalse(),
}
_OUTPUT: Table = {
    "output_compression": Integer(0, 100),
    "output_format": Choice(("png", "jpeg", "webp")),
    "background": Choice(("transparent", "opaque", "auto")),
    "moderation": Choice(("auto", "low")),
    "stream": Boolean(),
    "partial_images": Integer(0, 3),
}


def _table(prompt: int, n: Kind, quality: tuple[str, ...], size: Kind, *others: Table) -> Table:
    table: dict[str, Kind] = {
        "model": Text(256),
        "prompt": Text(prompt, may_be_empty=False),
        "n": n,
        "quality": Choice(quality),
    }
    for more in (*others, {"size": size}, _COMMON, EXTENSIONS):
        table |= more
    return table


DALL_E_2 = Profile(
    parameters=_table(
        1000,
        Integer(1, 10),
        ("standard", "auto"),
        FixedSize(("256x256", "512x512", "1024x1024")),
        _DALL_E,
    ),
    ignored=frozenset({"style", "user", "safety_identifier", "strength"}),
    beyond=_BEYOND,
)

DALL_E_3 = Profile(
    parameters=_table(
        4000,
        OnlyOne(),
        ("standard", "hd", "auto"),
        FixedSize(("1024x1024", "1792x1024", "1024x1792")),
        _DALL_E,
    ),
    ignored=frozenset({"style", "user", "safety_identifier", "strength"}),
    beyond=_BEYOND,
    revises=True,
)

GPT_IMAGE_1 = Profile(
    parameters=_table(
        32000,
        Integer(1, 10),
        (*_LEVELS, "auto"),
        ListedSize(("1024x1024", "1024x1536", "1536x1024", "auto")),
        _OUTPUT,
        {"response_format": Settled(_FORMATS, "b64_json")},
    ),
    response_format="b64_json",
    ignored=frozenset({"response_format", "user", "partial_images", "strength"}),
    beyond=_BEYOND | {"response_format"},
    describes=True,
)

_GPT_SIZE = FreeSize(
    shortest=16,
    longest=3840,
    multiple=16,
    fewest_pixels=655_360,
    most_pixels=8_294_400,
    steepest=3,
)
GPT_IMAGE_2 = replace(GPT_IMAGE_1, parameters={**GPT_IMAGE_1.parameters, "size": _GPT_SIZE})

_GPT_LEVELS = Choice((*_LEVELS, "xhigh", "max", "auto"))
GPT_IMAGE_2_5 = replace(GPT_IMAGE_2, parameters={**GPT_IMAGE_2.parameters, "quality": _GPT_LEVELS})

OPEN = Profile(
    parameters=_table(
        32000,
        Integer(1, 10),
        (*_LEVELS, "xhigh", "max", "standard", "hd", "auto"),
        FreeSize(shortest=64, longest=2048),
        _DALL_E,
        _OUTPUT,
    ),
    ignored=frozenset({"style", "user", "safety_identifier", "partial_images", "strength"}),
)

DALL_E_3_NAMES = r"dall-e-3([.-].*)?|dall-e-([4-9]|\d\d).*"
FAMILIES: tuple[tuple[str, Profile], ...] = (
    (r"dall-e-2", DALL_E_2),
    (DALL_E_3_NAMES, DALL_E_3),
    (r"gpt-image-1(\D.*)?|chatgpt-image-.*", GPT_IMAGE_1),
    (r"gpt-image-2(-.*)?", GPT_IMAGE_2),
    (r"gpt-image-.*", GPT_IMAGE_2_5),
    (r".*", OPEN),
)
"""Patterns of names; a name belongs to the first one that fits."""
