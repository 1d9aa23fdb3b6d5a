"""A request's body -> `ImageRequest`, checked against the profile of its model.

In the contract's order: model, unknown parameters, prompt, n, then the rest; the first fault is the
one that is told. Knows the registry's names; not how a body arrives, nor what is made of it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from pipelines.registry import Level, Registry
from server import errors
from server.kinds import Text, echo
from server.profiles import EXTENSIONS, Profile, ResponseFormat, profile_of
from server.sizes import Size

OutputFormat = Literal["png", "jpeg", "webp"]

_DEFAULT_MODEL = "dall-e-2"
_LEVELS: Mapping[str, Level] = {
    "low": "low",
    "high": "high",
    "hd": "high",
    "xhigh": "high",
    "max": "high",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """The form in which each image is handed over."""

    size: Size
    output_format: OutputFormat = "png"
    compression: int = 100
    """The quality of JPEG and WebP, 0 to 100."""
    response_format: ResponseFormat = "url"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """What a client asked for, with every default filled in."""

    profile: Profile
    model: str
    """The id of the installed model that serves the name which was asked for."""
    prompt: str
    n: int
    quality: str | None
    """As it was asked for; None for `auto`."""
    delivery: Delivery
    extensions: Mapping[str, Any]
    """Those of seed, steps, guidance_scale and negative_prompt that were sent."""
    safety_identifier: str | None
    ignored: tuple[str, ...]
    """The parameters that were sent and change nothing."""

    @property
    def level(self) -> Level:
        """Which of a model's three presets the quality means."""
        return _LEVELS.get(self.quality or "auto", "medium")


def read_generation(body: Mapping[str, object], registry: Registry) -> ImageRequest:
    """What `POST /v1/images/generations` asks for; raises an InvalidRequest for the first fault."""
    sent = {name: value for name, value in body.items() if value is not None}
    name = Text(256).read("model", sent.get("model", _DEFAULT_MODEL))
    model = _serving_model(name, registry)
    profile = profile_of(name)
    values = _read(sent, profile)
    _check_combinations(values)
    quality = values.get("quality", "auto")
    return ImageRequest(
        profile=profile,
        model=model,
        prompt=values["prompt"],
        n=values.get("n", 1),
        quality=None if quality == "auto" else quality,
        delivery=_delivery(values, profile),
        extensions={name: values[name] for name in EXTENSIONS if name in values},
        safety_identifier=values.get("safety_identifier"),
        ignored=tuple(name for name in sent if name in profile.ignored),
    )


def _serving_model(name: str, registry: Registry) -> str:
    preferences = registry.preferences(name)
    if not preferences:
        raise errors.ModelDoesNotExist(f"The model '{echo(name)}' does not exist.", "model")
    model = registry.resolve(name)
    if model is None:
        raise errors.ModelNotInstalled(
            f"The model '{name}' is known to this server, but its weights are not installed. "
            f"Its operator can install {' or '.join(_recipes(preferences, registry))}.",
            "model",
        )
    return model


def _recipes(preferences: list[str], registry: Registry) -> Iterator[str]:
    for model in preferences:
        source = registry.models[model].source
        if source.startswith("hub:"):
            yield f"'{model}' (the repository {source[4:]}, as the folder {model} of --models-dir)"
        else:
            yield f"'{model}' (the folder that weights.yaml names)"


def _read(sent: Mapping[str, object], profile: Profile) -> dict[str, Any]:
    for name in sent:
        if name not in profile.parameters:
            raise errors.UnknownParameter(f"Unknown parameter: '{echo(name)}'.", echo(name))
    if "prompt" not in sent:
        raise errors.MissingParameter("Missing required parameter: 'prompt'.", "prompt")
    kinds = profile.parameters.items()
    return {name: kind.read(name, sent[name]) for name, kind in kinds if name in sent}


def _check_combinations(values: Mapping[str, Any]) -> None:
    output_format = values.get("output_format", "png")
    if values.get("output_compression", 100) < 100 and output_format == "png":
        raise errors.CompressedPng(
            "Compression less than 100 is not supported for PNG output format",
            "output_compression",
        )
    if values.get("background") == "transparent":
        raise errors.InvalidValue(
            "Transparent background is not supported for JPEG output format"
            if output_format == "jpeg"
            else "Transparent background is not supported by this server.",
            "background",
        )
    if values.get("stream"):
        raise errors.InvalidValue(
            "Invalid value: 'true'. Streaming is not supported by this server; "
            "send false or leave the parameter out.",
            "stream",
        )


def _delivery(values: Mapping[str, Any], profile: Profile) -> Delivery:
    return Delivery(
        size=cast(Size, values.get("size") or profile.default_size),
        output_format=values.get("output_format", "png"),
        compression=values.get("output_compression", 100),
        response_format=values.get("response_format", profile.response_format),
    )
