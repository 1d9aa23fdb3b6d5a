"""A model's way into the memory of one device: what is there already, what is given up for it.

Joins footprints, components and the loader. When to load what is for the pool to say.
"""

import gc
from collections.abc import Callable, Hashable, Iterator
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from math import inf
from pathlib import Path

import torch

from pipelines.lanes.memory import Memory
from pipelines.messages import Begin
from pipelines.models.budgets import memory_of
from pipelines.models.companions import Companion
from pipelines.models.components import Shelf
from pipelines.models.copy_stream import CopyStream
from pipelines.models.fingerprints import fingerprints
from pipelines.models.footprints import Component, Parts
from pipelines.models.inspection import Inspector
from pipelines.models.keeping import keeper
from pipelines.models.loader import Resident, load
from pipelines.models.loras import Loras
from pipelines.models.matting import Matting
from pipelines.models.pool import Tell
from pipelines.registry import ModelSpec
from pipelines.scheduling.stopwatch import LOADS
from pipelines.weights.layout import components
from pipelines.weights.safety import read_index, require_harmless

PROMPTS_KEPT = 256 * 2**20
"""Bytes of text embeddings that a device remembers."""


class Residence:
    """Loads the models of one device, one at a time, components that they share only once."""

    def __init__(
        self, begin: Begin, budget: float = inf, changed: Callable[[], None] = lambda: None
    ) -> None:
        """`budget`: bytes of the device, for models and for what they have beside them. `changed`
        is called from another thread whenever a LoRA was read."""
        self._begin = begin
        self._memory = Memory(PROMPTS_KEPT)
        self._matting = Matting(begin.matting, begin.device) if begin.matting else None
        self._inspector = Inspector(begin.inspector, begin.device) if begin.inspector else None
        beside: tuple[Companion | None, ...] = (self._matting, self._inspector)
        self._companions = [it for it in beside if it is not None]
        self.budget = budget - begin.aside - sum(it.size for it in self._companions)
        """Bytes that are left for models."""
        kept = begin.host_memory * memory_of("cpu")
        self._shelf = Shelf(begin.device, self.budget, keeper(begin.device, kept))
        self._imported = False
        self._known: dict[str, tuple[list[Hashable], list[Component]]] = {}
        self.loras = Loras(begin.loras, changed=changed, copies=CopyStream(begin.device))
        """Those in the device's memory."""

    def load(self, model: str, given_up: list[Resident], tell: Tell) -> Resident:
        """Read a model; what it shares with those that are given up stays, the rest goes first.

        Raises what the loader raises.
        """
        if self._begin.device.startswith("cuda"):
            torch.cuda.set_device(self._begin.device)  # of this thread, for streams
        self._import_libraries(model)
        with LOADS.running(), self._shelf.copies.active():
            return self._load(model, given_up, tell)

    def _load(self, model: str, given_up: list[Resident], tell: Tell) -> Resident:
        spec, place = self._begin.models[model]
        self._shelf.expect(self._components(model), tell)
        pipes = [each.pipe for each in given_up]
        given_up.clear()
        try:
            self._shelf.give_up(pipes)
            prior = self._prior(model)
            resident = load(spec, place, self._begin.device, self._memory, prior, self._shelf)
            for companion in self._companions:
                companion.prepare()
        finally:
            parts = self._shelf.arrived()
        return replace(
            resident,
            matting=self._matting,
            inspector=self._inspector,
            parts=parts,
            loras=self.loras,
        )

    def leave(self, resident: Resident) -> None:
        """A model is given up: its LoRAs go at once. Belongs to the engine's thread, as they do."""
        self.loras.leave(resident.pipe)
        self._shelf.copies.freed()
        if LOADS.active and self._begin.device.startswith("cuda"):
            torch.cuda.default_stream(
                self._begin.device
            ).synchronize()  # its memory is free at once

    def footprint(self, model: str) -> Parts:
        """The bytes of a model by its files; nothing of one whose files cannot be read."""
        try:
            return {it.name: it.size for it in self._components(model)}
        except Exception:  # whatever its files are like: the loader says what is wrong
            return {}

    def remedy(self, model: str) -> str:
        """What would make a model fit that does not."""
        return self._shelf.remedy(*self._begin.models[model], self._prior(model))

    def _import_libraries(self, model: str) -> None:
        """Before the first model; and leave alone what that brings: a million objects that stay.
        To look through them for garbage takes a second, and holds up the lanes."""
        if self._imported:
            return
        self._imported = True
        with suppress(OSError, ValueError, ImportError):  # the loader says what is wrong
            for spec, place in self._places(model):
                folder = Path(spec.config) if spec.config and place.is_file() else place
                require_harmless(folder)  # importing runs what is imported
                for library, kind in components(read_index(folder)).values():
                    getattr(import_module(library), kind, None)
        gc.freeze()

    def _components(self, model: str) -> list[Component]:
        """Read again only after its files have changed."""
        places = list(self._places(model))
        state = [_state(*it) for it in places]
        if self._known.get(model, (None,))[0] != state:
            (spec, place), *beside = places
            parts = [self._shelf.planned(spec, place, self._prior(model))]
            parts += [self._shelf.planned(*it) for it in beside]
            self._known[model] = (state, [it for part in parts for it in part.values()])
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


def _state(spec: ModelSpec, place: Path) -> Hashable:
    """Changes when a model's files do. Raises OSError if there are none."""
    if place.is_dir():
        return tuple(fingerprints(place).items())
    beside = tuple(fingerprints(Path(spec.config)).items()) if spec.config else ()
    return place.stat().st_size, place.stat().st_mtime_ns, beside
