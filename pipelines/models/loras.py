"""LoRAs on demand: read into a resident model beside its weights, the last ones kept.

Knows files, diffusers pipelines and how many bytes there may be; not which lane wears what, in
which pass. Belongs to the engine's thread, but for the first reading of a file.
"""

import copy
import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain, count
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, ref

import torch

from pipelines.core import Lora, ModelUnavailable, UnfitLora
from pipelines.lanes import adapters
from pipelines.lanes.adapters import Worn
from pipelines.lanes.rendezvous import rendezvous_at
from pipelines.lora_files import LoraFiles
from pipelines.models.copy_stream import CopyStream
from pipelines.models.footprints import Parts, size_of_lora
from pipelines.models.lora_checks import (
    Likeness,
    LoraLayers,
    Refusal,
    check,
    likeness,
    refuse,
    unfit,
)
from pipelines.models.lora_reading import Reader

_ATTEMPTS = 6
_NUMBER = 4
"""Bytes of a number, at most."""
LORAS_KEPT = 2 * 2**30
"""Bytes of LoRAs that a device keeps, beside those that lanes wear."""


@dataclass(slots=True)
class _Kept:
    """One file's adapter, in the modules of one model."""

    size: int
    """Bytes of the device."""
    model: "ref[torch.nn.Module]"
    """The denoiser; its text encoders may be those of other models, too, and outlive it."""
    modules: "WeakSet[torch.nn.Module]"
    users: int = 0


class Loras:
    """The LoRAs of one device; the least recently used one goes first, never one that is worn."""

    def __init__(
        self,
        folder: Path | None = None,
        capacity: int = LORAS_KEPT,
        changed: Callable[[], None] = lambda: None,
        copies: CopyStream | None = None,
    ) -> None:
        """`copies` brings them to the device. `changed` is called from another thread whenever
        there may be more that is `ready`."""
        self._files = LoraFiles(folder) if folder else None
        self._capacity = capacity
        self._copies = copies or CopyStream("cpu")
        self._reader = Reader(changed)
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._known: WeakKeyDictionary[Any, Likeness] = WeakKeyDictionary()
        self._layers: dict[str, LoraLayers] = {}
        """What files put on a model, from their check until they are put on it."""

    @property
    def kept(self) -> list[str]:
        """The adapters in memory, the least recently used one first."""
        return list(self._kept)

    @property
    def size(self) -> int:
        """Bytes of all that are in memory."""
        return sum(it.size for it in self._kept.values())

    @property
    def held(self) -> int:
        """Bytes of those that lanes wear."""
        return sum(it.size for it in self._kept.values() if it.users)

    def missing(self, pipe: Any, wanted: Sequence[Lora]) -> Parts:
        """The bytes that LoRAs will take which are not in a pipeline's modules, by adapter.

        Those that are there become the most recently used ones.
        """
        found, model = {}, ref(_denoiser(pipe))
        for lora in wanted:
            file = self._files.path(lora.name) if self._files else None
            if file is None:
                continue
            with suppress(OSError, ValueError, KeyError):  # reading it says what is wrong
                name = self._name_of(lora.name, file, model)
                if name in self._kept:
                    self._kept.move_to_end(name)
                else:
                    found[name] = _most(file, file.stat().st_mtime_ns)
        return found

    def ready(self, pipe: Any, wanted: Sequence[Lora]) -> bool:
        """Whether all files of LoRAs that are not in memory were read, and are for a pipeline.

        They are read in a thread. Raises UnfitLora, and ModelUnavailable where it may be tried
        again.
        """
        waits = {lora.name for lora in wanted if not self._ready(pipe, lora.name)}
        return not waits

    def _ready(self, pipe: Any, lora: str) -> bool:
        file, name = self._find(pipe, lora)
        likeness = self._likeness(pipe)
        return name in self._kept or self._reader.has_read(
            name, partial(self._check, likeness, lora, file, name)
        )

    def _check(self, model: Likeness, lora: str, file: Path, name: str) -> None:
        self._layers[name] = check(model, lora, file)

    @contextmanager
    def on(self, pipe: Any, wanted: Sequence[Lora]) -> Iterator[Worn]:
        """Have LoRAs in the modules of a pipeline for as long as this lasts; what to wear of them.

        Raises UnfitLora, and ModelUnavailable where it may be tried again.
        """
        names: list[str] = []
        try:
            for lora in wanted:
                names.append(self._take(pipe, lora.name))
            yield tuple(sorted(zip(names, (it.scale for it in wanted), strict=True)))
        finally:
            for name in names:
                self._kept[name].users -= 1
            self.shrink(self._capacity)

    def _likeness(self, pipe: Any) -> Likeness:
        if pipe not in self._known:
            self._known[pipe] = likeness(pipe)
        return self._known[pipe]

    def _find(self, pipe: Any, lora: str) -> tuple[Path, str]:
        """A LoRA's file, and the name of its adapter."""
        file = self._files.path(lora) if self._files else None
        if file is None:
            raise UnfitLora(lora, "it is not here")
        return file, self._name_of(lora, file, ref(_denoiser(pipe)))

    def _take(self, pipe: Any, lora: str) -> str:
        self._forget_gone()
        file, name = self._find(pipe, lora)
        model = ref(_denoiser(pipe))
        if name not in self._kept:
            if not self._reader.take(name):  # it was changed in the meantime
                self._check(self._likeness(pipe), lora, file, name)
            with self._copies.active(), unfit(type(pipe), lora):
                modules = _put(pipe, file, name, self._layers.pop(name))
            size = sum(adapters.weigh(module, name) for module in modules)
            self._kept[name] = _Kept(size, model, WeakSet(modules))
        self._kept[name].users += 1
        self._kept.move_to_end(name)
        return name

    def _name_of(self, lora: str, file: Path, model: "ref[torch.nn.Module]") -> str:
        """The same for as long as the file is, also after a restart; peft takes no dots."""
        state = file.stat()
        told = f"{lora} {state.st_size} {state.st_mtime_ns}"
        digest = hashlib.blake2b(told.encode(), digest_size=6).hexdigest()
        base = f"{re.sub(r'[^A-Za-z0-9]', '_', file.stem)}_{digest}"
        of_all = [it for it in self._kept if it.rpartition("_")[0] == base]
        mine = (it for it in of_all if self._kept[it].model == model)
        free = (name for n in count() if (name := f"{base}_{n}") not in of_all)
        return next(chain(mine, free))

    def shrink(self, size: float) -> None:
        """Forget the least recently used ones that no lane wears, until so many bytes are left."""
        self._forget_gone()
        for name, kept in list(self._kept.items()):
            if self.size <= size:
                return
            if not kept.users:
                self._forget([name])

    def leave(self, pipe: Any) -> None:
        """Forget those of a pipeline that lanes are in no more, but not what the lanes of another
        one with the same denoiser wear."""
        model, its = ref(_denoiser(pipe)), self._kept.items()
        self._forget(name for name, it in its if it.model == model and not it.users)

    def _forget_gone(self) -> None:
        self._forget(name for name, it in self._kept.items() if it.model() is None)

    def _forget(self, names: Iterable[str]) -> None:
        for name in (gone := list(names)):
            adapters.remove(list(self._kept.pop(name).modules), name)
        if gone:
            self._copies.freed()


def _put(pipe: Any, file: Path, name: str, expected: LoraLayers) -> list[torch.nn.Module]:
    """Put a file's weights into a pipeline's modules as an adapter; returns those it is in now."""
    modules = [it for it in pipe.components.values() if isinstance(it, torch.nn.Module)]
    try:
        _load(pipe, modules, file, name)
        adapted = [it for it in modules if name in getattr(it, "peft_config", {})]
        if not adapted:
            raise Refusal("nothing in it is for this model")
        if not all(map(rendezvous_at, adapted)):
            raise ValueError("it is for a module at which calls do not meet")
        there = adapters.parameters(pipe.components, name)
        if lost := sorted(expected.parameters - there):
            raise refuse("these weights could not be put on the model", lost)
        adapters.set_alphas(pipe.components, name, expected.alphas)
        for module in adapted:  # of which diffusers may have moved the other adapters, too
            adapters.move(module, pipe._execution_device)
    except Exception:
        adapters.remove(modules, name)
        raise
    finally:
        for module in modules:
            if hasattr(module, "peft_config"):
                adapters.changed(module)
    return adapted


def _load(pipe: Any, modules: Sequence[torch.nn.Module], file: Path, name: str) -> None:
    """Again, where a model that is constructed beside it made empty tensors of these, too.

    Without `low_cpu_mem_usage`, which would make empty tensors of that model's.
    """
    pipe = copy.copy(pipe)
    # Or diffusers would stream the LoRA, too, and trace the order of all layers anew.
    vars(pipe)["hf_device_map"] = {}
    safely = {"use_safetensors": True, "local_files_only": True, "low_cpu_mem_usage": False}
    for attempt in range(_ATTEMPTS):
        with suppress(NotImplementedError):  # so torch calls it to copy from an empty tensor
            pipe.load_lora_weights(file, adapter_name=name, **safely)
            if not any(it.is_meta for module in modules for it in module.parameters()):
                return
        adapters.remove(modules, name)
        time.sleep(0.02 * 2**attempt)
    raise ModelUnavailable(f"LoRA {file}: other models were constructed all the time")


@lru_cache(maxsize=256)
def _most(file: Path, changed_ns: int) -> int:
    """The bytes that a file may take; a job that waits asks at every step."""
    return size_of_lora(file, _NUMBER)


def _denoiser(pipe: Any) -> Any:
    return pipe.components.get("transformer") or pipe.components.get("unet")
