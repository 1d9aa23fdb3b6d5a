"""The last answers of the text encoders: equal prompts are encoded once. Bounded in bytes."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from pipelines.lanes.rows import copy_of, size_of


class Memory:
    """The last answers of the text encoders of a device, up to a number of bytes."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self.size = 0

    def get(self, key: Hashable) -> Any | None:
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return copy_of(self._kept[key][0])

    def put(self, key: Hashable, answer: Any) -> None:
        """Keep an answer; but none for which most of the others would have to go."""
        size = size_of(answer)
        self.forget(lambda other: other == key)
        if 2 * size > self._capacity:
            return
        self._kept[key] = (copy_of(answer), size)
        self.size += size
        while self.size > self._capacity:
            self.size -= self._kept.popitem(last=False)[1][1]

    def forget(self, unwanted: Callable[[Hashable], bool]) -> None:
        """Drop every answer whose key the predicate picks."""
        for key in [key for key in self._kept if unwanted(key)]:
            self.size -= self._kept.pop(key)[1]
