"""What fits into a device's memory beside what: models by their parts, shared ones counted once.

Pure bookkeeping: knows bytes, not models, and no device.
"""

from collections.abc import Iterator
from math import inf

from pipelines.footprints import Parts, size_of


class Room:
    """The models in a memory, the least recently used one first."""

    def __init__(self, budget: float = inf) -> None:
        self.budget = budget
        """Bytes."""
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
        """A model is in, and was used just now."""
        self._models[model] = parts

    def use(self, model: str) -> None:
        """It is the most recently used one."""
        self._models[model] = self._models.pop(model)

    def remove(self, model: str) -> None:
        """It is in no longer."""
        del self._models[model]

    def fits_alone(self, *models: Parts) -> bool:
        """Whether models would fit together if there were no other."""
        return size_of(*models) <= self.budget

    def in_the_way(self, parts: Parts) -> list[str]:
        """The models to give up so that such parts fit: the least recently used ones first."""
        staying = list(self._models)
        leaving = []
        while staying and self._together(staying, parts) > self.budget:
            leaving.append(staying.pop(0))
        return leaving

    def _together(self, models: list[str], parts: Parts) -> int:
        return size_of(*(self._models[model] for model in models), parts)
