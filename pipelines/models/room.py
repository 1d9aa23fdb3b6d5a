"""What fits into a device's memory beside what: models by their parts, shared ones counted once.

Pure bookkeeping: knows bytes, not models, and no device.
"""

from collections.abc import Collection, Iterable, Iterator
from math import inf
from typing import Protocol

from pipelines.models.footprints import Parts, size_of


class Beside(Protocol):
    """What lies in the same memory and is no model, but can be had again: LoRAs."""

    @property
    def size(self) -> int:
        """Its bytes."""

    @property
    def held(self) -> int:
        """Those of them that are in use."""

    def shrink(self, size: float) -> None:
        """Give up what is not in use until it is at most so many bytes, if that is enough."""


class _Nothing:
    size = held = 0

    def shrink(self, size: float) -> None:
        """There is nothing to give up."""


class Room:
    """The models in a memory, the least recently used one first."""

    def __init__(self, budget: float = inf, beside: Beside | None = None) -> None:
        self.budget = budget
        """Bytes, for models and for what lies beside them."""
        self._beside = beside or _Nothing()
        self._models: dict[str, Parts] = {}

    @property
    def used(self) -> int:
        """Bytes of all models that are in."""
        return size_of(*self._models.values())

    def __contains__(self, model: str) -> bool:
        return model in self._models

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def add(self, model: str, parts: Parts) -> None:
        """A model is in, and was used just now; what lies beside it makes room for it."""
        self._models.pop(model, None)
        self._models[model] = parts
        self.shrink()

    def use(self, model: str) -> None:
        """It is the most recently used one."""
        self._models[model] = self._models.pop(model)

    def remove(self, model: str) -> None:
        """It is in no longer."""
        del self._models[model]

    def fits_alone(self, *models: Parts) -> bool:
        """Whether models would fit together if there were no other."""
        return size_of(*models) <= self.budget

    def has_room(self, parts: Parts) -> bool:
        """Whether parts fit beside all that is in."""
        return self._together(self._models, parts) + self._beside.size <= self.budget

    def shrink(self, parts: Parts | None = None) -> None:
        """Have what lies beside the models make room, for such parts if there are any."""
        self._beside.shrink(self.budget - self._together(self._models, parts or {}))

    def clear(self) -> None:
        """Give up all that lies beside the models and is not in use."""
        self._beside.shrink(0)

    def in_the_way(self, parts: Parts, keep: Collection[str] = ()) -> list[str]:
        """The models to give up so that such parts fit: the least recently used ones first, none
        of those to keep."""
        room = self.budget - self._beside.held
        staying = list(self._models)
        leaving = []
        for model in [it for it in staying if it not in keep]:
            if self._together(staying, parts) <= room:
                break
            staying.remove(model)
            leaving.append(model)
        return leaving

    def _together(self, models: Iterable[str], parts: Parts) -> int:
        return size_of(*(self._models[model] for model in models), parts)
