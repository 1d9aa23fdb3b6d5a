"""Tensors that remember which tensors of a file they are made of, through any conversion."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

_READERS = frozenset({"item", "tolist", "__float__"})


class TracedTensor(torch.Tensor):
    """A tensor that knows its origins: names of tensors in a file."""

    origins: frozenset[str]
    values_read: set[str]
    """The names of all tensors whose value was read as a number; shared by a whole file."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute as usual, and mark the result with the origins of all arguments."""
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **(kwargs or {}))
        sources = list(_traced((args, kwargs)))
        origins = frozenset[str]().union(*(it.origins for it in sources))
        if sources and getattr(func, "__name__", "") in _READERS:
            sources[0].values_read.update(origins)
        return _mark(result, origins, sources[0].values_read) if sources else result


def trace(tensors: Mapping[str, torch.Tensor]) -> tuple[dict[str, TracedTensor], set[str]]:
    """The tensors of a file, traced, and the names of those whose value gets read as a number."""
    values_read: set[str] = set()
    marked = {k: _mark(it, frozenset({k}), values_read) for k, it in tensors.items()}
    return marked, values_read


def origins_of(value: Any) -> frozenset[str]:
    """Which tensors of the file are in a value: a tensor, or a collection of such."""
    return frozenset[str]().union(*(it.origins for it in _traced(value)))


def _traced(value: Any) -> Iterator[TracedTensor]:
    if isinstance(value, TracedTensor):
        yield value
    elif isinstance(value, dict):
        yield from _traced(tuple(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _traced(item)


def _mark(value: Any, origins: frozenset[str], values_read: set[str]) -> Any:
    if isinstance(value, torch.Tensor):
        marked = value.as_subclass(TracedTensor)
        marked.origins, marked.values_read = origins, values_read
        return marked
    if type(value) in (list, tuple):
        return type(value)(_mark(item, origins, values_read) for item in value)
    return value
