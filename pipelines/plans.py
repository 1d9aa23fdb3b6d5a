"""Which components of a model stay on a device, and which wait in the host's memory for their use.

Chosen by their bytes alone, so that it can be told beforehand. All choices give the same images.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from pipelines.footprints import Component, size_of
from pipelines.registry import Offload

WAYS: Mapping[str, str] = {
    "none": "all of it stays on the device",
    "text": "text encoders come layer by layer, for prompts that are not remembered",
    "group": "text encoders and denoiser come layer by layer, at every step",
}
"""From the fastest to the smallest."""

_STREAMED_AT_ONCE = 2
"""The layer that is computed, and the next one."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model's components are kept on a device."""

    way: str
    """One of `WAYS`."""
    components: Mapping[str, Component]
    fits: bool

    @property
    def size(self) -> int:
        """Bytes of the device."""
        return size_of({it.name: it.size for it in self.components.values()})


def plan(offload: Offload, components: Mapping[str, Component], budget: float) -> Plan:
    """The way that an entry asks for; `auto`: the fastest one that fits into so many bytes.

    If none does, it is the smallest one.
    """
    ways = WAYS if offload == "auto" else (offload,)
    plans = [_plan(way, components, budget) for way in ways]
    return next((each for each in plans if each.fits), plans[-1])


def _plan(way: str, components: Mapping[str, Component], budget: float) -> Plan:
    away = _away(way, components)
    kept = {name: _streamed(it) if name in away else it for name, it in components.items()}
    planned = Plan(way, kept, fits=False)
    return replace(planned, fits=planned.size <= budget)


def _away(way: str, components: Iterable[str]) -> set[str]:
    """Autoencoders stay: they are small, and are not called as a whole."""
    text = {name for name in components if name.startswith("text_encoder")}
    denoisers = {name for name in components if name.startswith(("transformer", "unet"))}
    return {"none": set[str](), "text": text, "group": text | denoisers}[way]


def _streamed(component: Component) -> Component:
    size = min(component.size, _STREAMED_AT_ONCE * component.largest)
    return replace(component, name=f"{component.name}, streamed", size=size, streamed=True)
