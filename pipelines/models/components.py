"""The modules in a device's memory: a text encoder or an autoencoder of several models, once.

Knows files, modules and how far they have come; not which models are kept. What no pipeline uses
any more is forgotten by itself, or goes to a keeper.
"""

import filecmp
import gc
import logging
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from math import inf
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary, finalize

import torch

from pipelines.models.copy_stream import CopyStream
from pipelines.models.footprints import Component, components_of, size_of
from pipelines.models.keeping import Keeper, pinned_size
from pipelines.models.plans import plan, remedy
from pipelines.models.quantizations import able
from pipelines.models.quantizing import weigh
from pipelines.models.streaming import stream
from pipelines.registry import ModelSpec

log = logging.getLogger(__name__)

_State = tuple[tuple[int, int, int], ...] | None
"""Of files: sizes, times of change and inodes; None where one is gone."""


def _ignore(fraction: float) -> None:
    """For callers that show no progress."""


class Shelf:
    """What one device has of the components of models, found by what their files look like."""

    def __init__(self, device: str, budget: float = inf, keeper: Keeper | None = None) -> None:
        """`budget`: the bytes that a model may take, by which it is kept whole or streamed;
        `keeper`: what has the modules that are given up."""
        self._device = device
        self._budget = budget
        self._keeper = keeper
        self.copies = CopyStream(device)
        self._pipes: WeakSet[Any] = WeakSet()
        self._modules: WeakValueDictionary[str, torch.nn.Module] = WeakValueDictionary()
        self._read: WeakKeyDictionary[torch.nn.Module, tuple[Component, _State]]
        self._read = WeakKeyDictionary()
        self._taken: WeakKeyDictionary[torch.nn.Module, tuple[str, int]] = WeakKeyDictionary()
        self._numbers = count()
        self._held: dict[str, torch.nn.Module] = {}
        self._parts: dict[str, int] = {}
        self._total = self._moved = 0
        self._tell: Callable[[float], None] = _ignore

    def planned(
        self, spec: ModelSpec, place: Path, prior: Path | None = None
    ) -> Mapping[str, Component]:
        """The components of a model's folder or file, as they will be kept here; `prior`: the
        folder of what reads pictures for it, which takes of the same bytes."""
        budget = inf if self._device == "cpu" else self._left(spec, prior)
        there = able(self._device)
        found = components_of(spec, place)
        return plan(spec.offload, found, budget, spec.quantization, there).components

    def remedy(self, spec: ModelSpec, place: Path, prior: Path | None = None) -> str:
        """What would make a model fit here that does not. Raises what `planned` does."""
        streams, there = self._device != "cpu", able(self._device)
        return remedy(components_of(spec, place), self._left(spec, prior), streams, there)

    def _left(self, spec: ModelSpec, prior: Path | None) -> float:
        beside = components_of(spec, prior).values() if prior else ()
        return self._budget - sum(it.size for it in beside)

    def expect(self, wanted: Iterable[Component], tell: Callable[[float], None]) -> None:
        """A model is about to be loaded: what is here of it stays, until it has `arrived`."""
        here, missing = {}, {}
        for it in wanted:
            module = self._modules.get(it.name)
            if module is not None:
                here[it.name] = module
            if module is None or self._keeps(it.name):
                missing[it.name] = it.size
        self._held, self._tell = here, tell
        self._total, self._moved, self._parts = size_of(missing), 0, {}

    def give_up(self, pipes: list[Any]) -> None:
        """Drop what only these pipelines have, and the model that is expected has not; empties the
        list. What may be asked for again stays in the host's memory, where there is a keeper."""
        if self._keeper is not None:
            self._keep(self._keeper, pipes)
        pipes.clear()
        gc.collect()  # the parts of a pipeline refer to each other

    def _keep(self, keeper: Keeper, pipes: list[Any]) -> None:
        own = {it for pipe in pipes for it in _modules(pipe) if it in self._read}
        self._pipes.difference_update(pipes)
        alone = own.difference(self._held.values(), *map(_modules, self._pipes))
        for module in sorted(alone, key=weigh):  # the small ones go first, if not all fit
            component, _ = self._read[module]
            if component.quantization == "none" and not component.streamed:
                keeper.keep(component.name, module, staying=self._held)

    def arrived(self) -> dict[str, int]:
        """The bytes of all that was put here since the model was expected, by part."""
        self._held.clear()
        self._tell = _ignore
        return self._parts

    def known(self, wanted: Mapping[str, Component]) -> dict[str, torch.nn.Module]:
        """Those of a pipeline's components that are here already, read from equal files."""
        found = {name: self._modules.get(it.name) for name, it in wanted.items()}
        return {
            name: module
            for name, module in found.items()
            if module is not None and self._is_here(module, wanted[name])
        }

    def _is_here(self, module: torch.nn.Module, wanted: Component) -> bool:
        """Whether a module is what is wanted; if so, it is on the device from now on."""
        same = self._is(module, wanted)
        if same and self._keeper is not None and wanted.name in self._keeper:
            self._keeper.back(wanted.name)
            self._progress(wanted.size)
        return same

    def _keeps(self, name: str) -> bool:
        return self._keeper is not None and name in self._keeper

    def put(self, pipe: Any, wanted: Mapping[str, Component]) -> None:
        """Move a pipeline to the device, module by module, and remember what it is made of."""
        self._pipes.add(pipe)
        for name, module in pipe.components.items():
            if isinstance(module, torch.nn.Module):
                component = wanted.get(name)
                if module not in self._taken:
                    self._bring(module, component)
                    self._remember(module, component)
                    streamed = component is not None and component.streamed
                    size = component.size if component and streamed else weigh(module)
                    part = self._part(name, module)
                    self._taken[module] = part, size  # before it gets any LoRA
                part, size = self._taken[module]
                self._parts[part] = size

    def _bring(self, module: torch.nn.Module, component: Component | None) -> None:
        if component is None or not component.streamed:
            self._move(module)
            module.to(self._device)
            return
        pinned = self._device.startswith("cuda") and self._pin(module, component)
        stream(module, self._device, pinned)

    def _pin(self, module: torch.nn.Module, component: Component) -> bool:
        """Pin what is streamed, if the host has so much to spare for this device."""
        size = pinned_size([*module.parameters(), *module.buffers()])
        keeper = self._keeper
        if keeper is None or not keeper.pin(module, size, staying=self._held):
            log.warning(
                "%s: streamed without pinned memory, slower: it would take %.1f GB of what "
                "--host-memory allows",
                component.name,
                size / 1e9,
            )
            return False
        finalize(module, keeper.unpin, size)
        return True

    def _move(self, module: torch.nn.Module) -> None:
        """Straight from the file, which is mapped: what is not converted is never in between."""
        for leaf in module.modules():
            if next(leaf.children(), None) is None:
                self.copies.move(leaf)
                self._progress(weigh(leaf))

    def _progress(self, size: int) -> None:
        self._moved += size
        self._tell(min(1.0, self._moved / max(1, self._total)))

    def _remember(self, module: torch.nn.Module, component: Component | None) -> None:
        if component is not None and component.name not in self._modules:
            self._modules[component.name] = module
            self._read[module] = (component, _state(component.files))

    def _part(self, name: str, module: torch.nn.Module) -> str:
        # What only looks like a module that is here has a name of its own, which none has after it:
        # what was measured of a model is remembered longer than its modules.
        known = self._read.get(module)
        return known[0].name if known else f"{name}#{next(self._numbers)}"

    def _is(self, module: torch.nn.Module, wanted: Component) -> bool:
        component, state = self._read[module]
        return (
            state is not None
            and state == _state(component.files)
            and all(_equal(a, b) for a, b in zip(component.files, wanted.files, strict=True))
        )


def _modules(pipe: Any) -> set[torch.nn.Module]:
    return {it for it in pipe.components.values() if isinstance(it, torch.nn.Module)}


def _state(files: tuple[Path, ...]) -> _State:
    try:
        found = [file.stat() for file in files]
    except OSError:
        return None
    return tuple((it.st_size, it.st_mtime_ns, it.st_ino) for it in found)


def _equal(a: Path, b: Path) -> bool:
    return a.samefile(b) or filecmp.cmp(a, b, shallow=False)
