"""Which components of a model stay on a device, which in fewer bits, and which wait in the host's
memory for their use.

Chosen by their bytes alone, so that it can be told beforehand. Without quantization, all choices
give the same images.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from pipelines.models.footprints import Component, size_of
from pipelines.models.quantizations import QUANTIZATIONS
from pipelines.registry import Offload, Quantize

WAYS: Mapping[str, str] = {
    "none": "all of it stays on the device",
    "text": "text encoders come layer by layer, for prompts that are not remembered",
    "group": "text encoders and denoiser come layer by layer, at every step",
}
"""What waits in the host's memory."""

CHOICES: tuple[tuple[str, str], ...] = (
    ("none", "none"),
    ("text", "none"),
    ("none", "float8"),
    ("text", "float8"),
    ("none", "int8"),
    ("text", "int8"),
    ("none", "nf4"),
    ("text", "nf4"),
    ("group", "none"),
)
"""(offload, quantization), the best first: those that change no image, but for streaming the
denoiser, which takes several times as long."""

AUTO = frozenset({"none", "float8", "nf4"})
"""What `auto` chooses from: int8 is as large as float8, and its calls cannot share a pass."""

LAYERS_AT_ONCE = 3
"""Of a streamed module: one that is computed, one that waits for that, and one on its way."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model's components are kept on a device."""

    offload: str
    """One of `WAYS`."""
    quantization: str
    components: Mapping[str, Component]
    fits: bool

    @property
    def way(self) -> str:
        """Both in a word."""
        both = [it for it in (self.quantization, self.offload) if it != "none"]
        return "+".join(both) or "none"

    @property
    def size(self) -> int:
        """Bytes of the device."""
        return size_of({it.name: it.size for it in self.components.values()})


def plan(
    offload: Offload,
    components: Mapping[str, Component],
    budget: float,
    quantization: Quantize = "none",
    able: Collection[str] = QUANTIZATIONS,
) -> Plan:
    """The way that an entry asks for; `auto`: the best one that fits into so many bytes.

    If none does, it is the smallest one. `able`: the quantizations that `auto` may choose from.
    """
    plans = [
        _plan(away, kind, components, budget)
        for away, kind in CHOICES
        if offload in (away, "auto")
        and (quantization == kind or (quantization == "auto" and kind in AUTO & {"none", *able}))
    ]
    return next((each for each in plans if each.fits), plans[-1])


def remedy(
    components: Mapping[str, Component], budget: float, streams: bool, able: Collection[str]
) -> str:
    """What the entry of a model that does not fit could say, so that it does.

    `streams`: whether there is anywhere to stream from; `able`: the quantizations that there are.
    """
    for away, kind in CHOICES:
        there = kind in {"none", *able} and (streams or away == "none")
        if there and _plan(away, kind, components, budget).fits:
            return f"`offload: {away}` with `quantization: {kind}` would make it fit"
    return "nothing but more memory would make it fit"


def _plan(way: str, kind: str, components: Mapping[str, Component], budget: float) -> Plan:
    away = _away(way, components)
    kept = {
        name: _streamed(it) if name in away else _quantized(it, kind)
        for name, it in components.items()
    }
    planned = Plan(way, kind, kept, fits=False)
    return replace(planned, fits=planned.size <= budget)


def _away(way: str, components: Iterable[str]) -> set[str]:
    """Autoencoders stay: they are small, and are not called as a whole."""
    text = {name for name in components if name.startswith("text_encoder")}
    denoisers = {name for name in components if name.startswith(("transformer", "unet"))}
    return {"none": set[str](), "text": text, "group": text | denoisers}[way]


def _streamed(component: Component) -> Component:
    size = min(component.size, LAYERS_AT_ONCE * component.largest)
    return replace(component, name=f"{component.name}, streamed", size=size, streamed=True)


def _quantized(component: Component, kind: str) -> Component:
    if kind not in component.quantized:
        return component
    size = component.quantized[kind]
    return replace(component, name=f"{component.name}, {kind}", size=size, quantization=kind)
