"""A model's way into the memory of one device: what is there already, what is given up for it.

Joins footprints, components and the loader. When to load what is for the pool to say.
"""

import gc
from collections.abc import Hashable, Iterator
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from math import inf
from pathlib import Path

import torch

from pipelines.components import Shelf
from pipelines.fingerprints import fingerprints
from pipelines.footprints import Component, Parts
from pipelines.loader import Resident, load
from pipelines.loras import Loras
from pipelines.matting import Matting
from pipelines.memory import Memory
from pipelines.messages import Begin
from pipelines.pool import Tell
from pipelines.registry import ModelSpec
from pipelines.weights.layout import components
from pipelines.weights.safety import read_index

PROMPTS_KEPT = 256 * 2**20
"""Bytes of text embeddings that a device remembers."""


class Residence:
    """Loads the models of one device, one at a time, components that they share only once."""

    def __init__(self, begin: Begin, budget: float = inf) -> None:
        self._begin = begin
        self._memory = Memory(PROMPTS_KEPT)
        self._shelf = Shelf(begin.device, budget)
        self._imported = False
        self._known: dict[str, tuple[list[Hashable], list[Component]]] = {}
        self._loras = Loras(begin.loras)
        self._matting = Matting(begin.matting, begin.device) if begin.matting else None

    def load(self, model: str, given_up: list[Resident], tell: Tell) -> Resident:
        """Read a model; what it shares with those that are given up stays, the rest goes first.

        Raises what the loader raises.
        """
        spec, place = self._begin.models[model]
        if self._begin.device.startswith("cuda"):
            torch.cuda.set_device(self._begin.device)  # of this thread, for streams
        self._import_libraries(model)
        self._shelf.expect(self._components(model), tell)
        given_up.clear()
        gc.collect()  # the parts of a pipeline refer to each other
        try:
            prior = self._prior(model)
            resident = load(spec, place, self._begin.device, self._memory, prior, self._shelf)
            if self._matting:
                self._matting.prepare()
        finally:
            parts = self._shelf.arrived()
        return replace(resident, matting=self._matting, parts=parts, loras=self._loras)

    def footprint(self, model: str) -> Parts:
        """The bytes of a model by its files; nothing of one whose files cannot be read."""
        try:
            return {it.name: it.size for it in self._components(model)}
        except (OSError, ValueError, KeyError):
            return {}  # the loader says what is wrong

    def _import_libraries(self, model: str) -> None:
        """Before the first model; and leave alone what that brings: a million objects that stay.
        To look through them for garbage takes a second, and holds up the lanes."""
        if self._imported:
            return
        self._imported = True
        with suppress(OSError, ValueError, ImportError):  # the loader says what is wrong
            for spec, place in self._places(model):
                folder = Path(spec.config) if spec.config and place.is_file() else place
                for library, kind in components(read_index(folder)).values():
                    getattr(import_module(library), kind, None)
        gc.freeze()

    def _components(self, model: str) -> list[Component]:
        """Read again only after its files have changed."""
        places = list(self._places(model))
        state = [_state(place) for _, place in places]
        if self._known.get(model, (None,))[0] != state:
            found = [it for place in places for it in self._shelf.planned(*place).values()]
            self._known[model] = (state, found)
        return self._known[model][1]

    def _places(self, model: str) -> Iterator[tuple[ModelSpec, Path]]:
        spec, place = self._begin.models[model]
        yield spec, place
        if (prior := self._prior(model)) is not None:
            yield spec, prior

    def _prior(self, model: str) -> Path | None:
        """Where what reads pictures for a model lies, if its entry names one that is installed."""
        named = self._begin.models[model][0].variation
        folder = self._begin.models[named][1] if named else None
        return folder if folder and (folder / "model_index.json").is_file() else None


def _state(place: Path) -> Hashable:
    """Changes when a model's files do. Raises OSError if there are none."""
    if place.is_dir():
        return tuple(fingerprints(place).items())
    return place.stat().st_size, place.stat().st_mtime_ns
