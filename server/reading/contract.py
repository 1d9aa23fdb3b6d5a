"""A request's body -> `ImageRequest`, checked against the profile of its model.

In the contract's order: model, unknown parameters, prompt, pictures, n, then the rest; the first
fault is the one that is told. Knows the registry's names; not how a body arrives, what its pictures
look like, or what is made of it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from typing import Any, Literal, cast

from pipelines.core import Image, Strictness, Task
from pipelines.registry import Level, Registry
from server import errors
from server.reading.endpoints import GENERATIONS, Endpoint
from server.reading.kinds import Text, echo, given, listed, read_table, read_value, unknown
from server.reading.loras import check_loras
from server.reading.profiles import EXTENSIONS, Profile, ResponseFormat
from server.reading.region import Canvas
from server.reading.sizes import Size

OutputFormat = Literal["png", "jpeg", "webp"]

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
    canvas: Canvas | None = None
    """The picture that is worked on, of the same size."""
    transparent: bool = False
    """Whether the background is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """What a client asked for, with every default filled in."""

    profile: Profile
    name: str
    """The name of weights.yaml that was asked for."""
    asked: str
    """The name as it was sent, which may stand for another one."""
    model: str
    """The id of the installed model that serves the name."""
    prompt: str
    n: int
    quality: str | None
    """As it was asked for; None for `auto`."""
    delivery: Delivery
    extensions: Mapping[str, Any]
    """Those of `EXTENSIONS` that were sent."""
    safety_identifier: str | None
    ignored: tuple[str, ...]
    """The parameters that were sent and change nothing."""
    stream: bool = False
    """Whether the images are sent as events, each as soon as it is finished."""
    previews: int = 0
    """How many estimates of each image a stream shows before it."""
    event: Literal["image_generation", "image_edit"] = "image_generation"
    """How the names of a stream's events begin."""
    strength: float = 1.0
    """How far a picture that is worked on is left behind."""
    task: Task = "text2img"
    """What the model does."""
    pictures: tuple[Size, ...] = ()
    """The sizes of what was sent to be looked at."""
    references: tuple[Image, ...] = ()
    """What the model looks at beside the picture that it works on."""
    moderation: Strictness | None = None
    """How strictly it asked to be judged, if it said so."""
    style: str | None = None
    """`vivid` or `natural`, if that was asked for."""

    @property
    def rewrite(self) -> bool | None:
        """Whether the prompt shall be rewritten; None where that was not said."""
        return cast(bool | None, self.extensions.get("prompt_rewrite"))

    @property
    def tells_prompt(self) -> bool:
        """Whether each image comes with the prompt that the model was given."""
        return self.profile.revises or self.rewrite is True

    @property
    def level(self) -> Level:
        """Which of a model's three presets the quality means."""
        return _LEVELS.get(self.quality or "auto", "medium")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A body in which no fault was found; what its pictures look like is not known yet."""

    endpoint: Endpoint
    profile: Profile
    name: str
    asked: str
    model: str
    values: Mapping[str, Any]
    """The parameters that were sent, as their kinds read them."""
    order: tuple[str, ...]
    """Their names as they were sent."""

    @property
    def prompt(self) -> str:
        """What is to be seen; empty where nothing was said."""
        return cast(str, self.values.get("prompt", ""))

    @property
    def n(self) -> int:
        """How many images there shall be."""
        return cast(int, self.values.get("n", 1))

    @property
    def size(self) -> Size | None:
        """The size that is to be delivered; None for that of the picture that is worked on."""
        return cast(Size | None, self.values.get("size") or self.profile.default_size)

    @property
    def transparent(self) -> bool:
        """Whether the background shall be."""
        return self.values.get("background") == "transparent"

    @property
    def moderation(self) -> Strictness | None:
        """How strictly it asks to be judged, if it says so."""
        return cast(Strictness | None, self.values.get("moderation"))

    def request(self, canvas: Canvas | None = None) -> ImageRequest:
        """The whole request, with its canvas where it has one."""
        values = self.values
        quality, stream = values.get("quality", "auto"), values.get("stream", False)
        return ImageRequest(
            profile=self.profile,
            name=self.name,
            asked=self.asked,
            model=self.model,
            prompt=self.prompt,
            n=self.n,
            quality=None if quality == "auto" else quality,
            delivery=self._delivery(canvas),
            extensions={name: values[name] for name in EXTENSIONS if name in values},
            safety_identifier=self._safety_identifier,
            ignored=self._ignored(stream),
            stream=stream,
            previews=values.get("partial_images", 0) if stream else 0,
            event=self.endpoint.event,
            moderation=self.moderation,
            style=values.get("style"),
        )

    @property
    def _safety_identifier(self) -> str | None:
        """That of the request, or the `user` in whose place it came, which may be anything."""
        user = self.values.get("user")
        known = self.values.get("safety_identifier") or user
        return known if isinstance(known, str) and known else None

    def _ignored(self, stream: bool) -> tuple[str, ...]:
        """The parameters that were sent and change nothing, here."""
        honoured = {"partial_images"} if stream else set()
        if self.profile.describes and self.values.get("user") == self._safety_identifier:
            honoured.add("user")
        return tuple(name for name in self.order if name in self.profile.ignored - honoured)

    def _delivery(self, canvas: Canvas | None) -> Delivery:
        return Delivery(
            size=canvas.size if canvas else cast(Size, self.size),
            output_format=self.values.get("output_format", "png"),
            compression=self.values.get("output_compression", 100),
            response_format=self.values.get("response_format", self.profile.response_format),
            canvas=canvas,
            transparent=self.transparent,
        )


def read_generation(
    body: Mapping[str, object], registry: Registry, strict: bool = False
) -> ImageRequest:
    """What `POST /v1/images/generations` asks for; raises an InvalidRequest for the first fault."""
    return check(GENERATIONS, body, registry, strict).request()


def check(
    endpoint: Endpoint, body: Mapping[str, object], registry: Registry, strict: bool = False
) -> Checked:
    """What a body asks of an endpoint; raises an InvalidRequest for the first fault.

    `strict`: what the original refuses for a name that it has is a fault.
    """
    sent = given(body, endpoint.required)
    asked = cast(
        str, read_value(Text(256), "model", sent.get("model", _default(endpoint, sent, registry)))
    )
    name = registry.known_name(asked, strict)
    if name is None:
        raise errors.ModelDoesNotExist(no_such_model(asked, registry), "model")
    profile = endpoint.profile(asked)
    if profile is None:
        raise errors.InvalidValue(f"The model '{asked}' does not support {endpoint.does}.", "model")
    model = _serving_model(name, asked, endpoint, registry)
    beyond = profile.beyond if strict else frozenset()
    table = {name: kind for name, kind in profile.parameters.items() if name not in beyond}
    values = read_table(table, sent, endpoint.required, partial(_unknown, endpoint, asked))
    _check_combinations(values)
    check_loras(values.get("loras", ()), model, registry)
    checked = Checked(
        endpoint=endpoint,
        profile=profile,
        name=name,
        asked=asked,
        model=model,
        values=values,
        order=tuple(sent),
    )
    # An edit may keep the transparency of its picture, which is not known yet.
    if checked.transparent and not registry.matting and endpoint.event != "image_edit":
        raise no_matting()
    return checked


def _default(endpoint: Endpoint, sent: Mapping[str, object], registry: Registry) -> str:
    """The model of a request that names none: the first of its endpoint's that takes it all."""
    known = [name for name in endpoint.default_models if registry.preferences(name)]
    for name in known:
        profile = endpoint.profile(name)
        if profile and all(_takes(profile, *it) for it in sent.items()):
            return name
    return known[0] if known else endpoint.default_models[0]


def _takes(profile: Profile, name: str, value: object) -> bool:
    """Whether a profile has a parameter, whatever it says of the value."""
    if name not in profile.parameters:
        return False
    try:
        read_value(profile.parameters[name], name, value)
    except errors.UnknownParameter:
        return False
    except errors.InvalidRequest:
        pass
    return True


def no_matting() -> errors.InvalidValue:
    """The refusal of a transparent background, and what would help."""
    return errors.InvalidValue(
        "Transparent background is not supported by this server: it has no matting model. "
        "Send 'auto' or 'opaque', or an edit with a mask of an image that is transparent already; "
        "or have its operator name a model under 'matting' in weights.yaml and run 'darkroom pull "
        "matting'.",
        "background",
    )


def no_such_model(name: str, registry: Registry) -> str:
    """The message about a model name that stands for none: with the nearest ones there are."""
    near = get_close_matches(name[:256].lower(), registry.names, n=3)
    hint = f" Did you mean {listed(near, 'or')}?" if near else ""
    return (
        f"The model '{echo(name)}' does not exist.{hint} GET /v1/models lists every name that can "
        "be sent."
    )


def _serving_model(name: str, asked: str, endpoint: Endpoint, registry: Registry) -> str:
    model = registry.resolve(name, endpoint.tasks)
    if model is None and registry.resolve(name):
        raise errors.InvalidValue(f"The model '{asked}' does not support {endpoint.does}.", "model")
    if model is None:
        raise errors.ModelNotInstalled(
            f"The model '{asked}' is known to this server, but its weights are not installed. Its "
            f"operator can install {' or '.join(_recipes(registry.preferences(name), registry))}.",
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


def _unknown(endpoint: Endpoint, model: str, name: str) -> errors.InvalidRequest:
    if name in endpoint.hints:
        return errors.InvalidValue(f"Unknown parameter: '{name}'. {endpoint.hints[name]}", name)
    if name == "input_fidelity" and endpoint.event == "image_edit":
        return errors.UnsupportedFidelity(
            f"The model '{model}' does not support the 'input_fidelity' parameter.", name
        )
    return unknown(name)


def _check_combinations(values: Mapping[str, Any]) -> None:
    output_format = values.get("output_format", "png")
    if values.get("output_compression", 100) < 100 and output_format == "png":
        raise errors.CompressedPng(
            "Compression less than 100 is not supported for PNG output format",
            "output_compression",
        )
    if values.get("background") == "transparent" and output_format == "jpeg":
        raise errors.InvalidValue(
            "Transparent background is not supported for JPEG output format", "background"
        )
    if values.get("stream") and values.get("response_format") == "url":
        raise errors.InvalidValue(
            "Invalid value: 'url'. A stream carries its images itself: send 'b64_json' or leave "
            "the parameter out.",
            "response_format",
        )
