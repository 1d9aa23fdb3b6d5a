"""What each endpoint takes of each family of names: the tables of `profiles`, with pictures put in.

Data, one `Endpoint` for each way of asking. Knows names and limits; not how a body arrives.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from pipelines.core import Task
from pipelines.model_names import undated
from server.reading.kinds import Anything, Boolean, Choice, Kind, Table
from server.reading.profiles import (
    DALL_E_2,
    DALL_E_3_NAMES,
    EXTENSIONS,
    FAMILIES,
    GPT_IMAGE_1,
    GPT_IMAGE_2,
    GPT_IMAGE_2_5,
    OPEN,
    Profile,
)
from server.reading.references import OneReference, References, Uploads

MOST_IMAGES = 16

_GPT_IMAGE = ("gpt-image-1.5", "gpt-image-1", "gpt-image-2")
"""The GPT image models by which requests without `model` are served, the first that is known."""

_EDITS: frozenset[Task] = frozenset({"img2img", "inpaint", "edit"})

_OF_PROMPTS = {"prompt_rewrite"}
"""The extensions that make no sense without a prompt."""
CROP: Table = {"crop": Boolean()}
"""The extension that edits have alone."""

FILES: Table = {
    "file": Uploads(only_one=True),
    "purpose": Choice(("vision",)),
    "expires_after[anchor]": Anything(),
    "expires_after[seconds]": Anything(),
}
"""What a file comes with that is sent ahead."""
FILES_REQUIRED = ("file", "purpose")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One way of asking for images."""

    does: str
    """What a model that has no profile here does not support."""
    families: tuple[tuple[str, Profile | None], ...]
    """Patterns of names, the first that fits decides; None: not on this endpoint."""
    default_models: tuple[str, ...] = ("dall-e-2", *_GPT_IMAGE)
    """Without `model`: the first of these that takes all of the parameters, or else the first."""
    required: tuple[str, ...] = ("prompt",)
    hints: Mapping[str, str] = field(default_factory=dict)
    """What is added to the refusal of a parameter that another way of asking has."""
    tasks: frozenset[Task] = frozenset({"text2img"})
    """The model that serves a name is one that has one of these."""
    event: Literal["image_generation", "image_edit"] = "image_generation"

    def profile(self, name: str) -> Profile | None:
        """The profile of a model name, as sent: that of the first family that it belongs to."""
        own = undated(name)
        return next(it for pattern, it in self.families if re.fullmatch(pattern, own, re.S))


def _with_pictures(
    profile: Profile, pictures: Table, fidelity: tuple[str, ...] = (), leave_out: str = "style"
) -> Profile:
    """A generations profile as edits have it: pictures are checked between prompt and n."""
    table: dict[str, Kind] = {}
    for name, kind in profile.parameters.items():
        if name != leave_out:
            table[name] = kind
        if name == "prompt":
            table |= pictures
    if fidelity:
        table["input_fidelity"] = Choice(fidelity)
    ignored = profile.ignored - {leave_out, "strength"}
    beyond = profile.beyond | CROP.keys() if profile.beyond else profile.beyond
    return replace(profile, parameters={**table, **CROP}, ignored=ignored, beyond=beyond)


_BOTH = ("high", "low")
_IN_FORM: Table = {"image": Uploads(), "mask": Uploads(only_one=True)}
_IN_JSON: Table = {"images": References(MOST_IMAGES), "mask": OneReference()}


def _edit_families(pictures: Table) -> tuple[tuple[str, Profile | None], ...]:
    def own_size(profile: Profile, fidelity: tuple[str, ...] = ()) -> Profile:
        return replace(_with_pictures(profile, pictures, fidelity), default_size=None)

    return (
        (r"dall-e-2", _with_pictures(DALL_E_2, pictures)),
        (DALL_E_3_NAMES, None),
        (r"gpt-image-1-mini(-.*)?", own_size(GPT_IMAGE_1, ("low",))),
        (r"gpt-image-1(\D.*)?|chatgpt-image-.*", own_size(GPT_IMAGE_1, _BOTH)),
        (r"gpt-image-2(-.*)?", own_size(GPT_IMAGE_2)),
        (r"gpt-image-.*", own_size(GPT_IMAGE_2_5)),
        (r".*", replace(own_size(OPEN, _BOTH), response_format="b64_json")),
    )


_SIZE_AND_FORM = ("n", "response_format", "size", "user", *(EXTENSIONS.keys() - _OF_PROMPTS))
_QUALITY = ("quality", "output_compression", "output_format", "background", "safety_identifier")


def _variations(profile: Profile, names: tuple[str, ...]) -> Profile:
    kinds = {name: kind for name, kind in profile.parameters.items() if name in names}
    table = {"model": profile.parameters["model"], "image": Uploads(only_one=True), **kinds}
    ignored = (profile.ignored & table.keys()) - {"strength"}
    return replace(profile, parameters=table, ignored=ignored)


_OPEN_VARIATIONS = _variations(OPEN, (*_SIZE_AND_FORM, *_QUALITY))

GENERATIONS = Endpoint(does="image generation", families=FAMILIES)

EDITS = Endpoint(
    does="image edits",
    families=_edit_families(_IN_FORM),
    required=("prompt", "image"),
    hints={"images": "For multipart/form-data use 'image' or 'image[]'."},
    tasks=_EDITS,
    event="image_edit",
)

JSON_EDITS = Endpoint(
    does="image edits",
    families=_edit_families(_IN_JSON),
    default_models=_GPT_IMAGE,
    required=("prompt", "images"),
    hints={"image": "For application/json on /v1/images/edits, use 'images' (array)."},
    tasks=_EDITS,
    event="image_edit",
)

VARIATIONS = Endpoint(
    does="image variations",
    families=(
        (r"dall-e-2", _variations(DALL_E_2, _SIZE_AND_FORM)),
        (rf"{DALL_E_3_NAMES}|gpt-image-.*|chatgpt-image-.*", None),
        (r".*", replace(_OPEN_VARIATIONS, default_size=None)),
    ),
    default_models=("dall-e-2",),
    required=("image",),
    tasks=frozenset({"img2img", "edit"}),
)
