"""Caches of methods that end with their module.

`functools.lru_cache` on a method keeps the module and all answers, such as tables on a device, for
the life of the process.
"""

import functools
import weakref
from collections.abc import Callable
from typing import Any

import torch

_CACHED = type(functools.lru_cache(lambda: None))
_SIZE = 16


def use_instance_caches(module: torch.nn.Module) -> None:
    """Give every module its own cache in place of each cached method of its class."""
    for part in module.modules():
        kind: Any = type(part)
        for name, method in _cached_methods(kind).items():
            setattr(part, name, _own_cache(method, part))


@functools.cache
def _cached_methods(kind: type) -> dict[str, Callable[..., Any]]:
    """The methods of a class that have a cache, as they are without it."""
    methods = {name: value for base in reversed(kind.__mro__) for name, value in vars(base).items()}
    return {name: value.__wrapped__ for name, value in methods.items() if _is_cached(value)}


def _is_cached(value: Any) -> bool:
    """Whether a function is, or calls, one made by functools.lru_cache."""
    if isinstance(value, _CACHED):
        return True
    cells = getattr(value, "__closure__", None) or ()
    return hasattr(value, "__wrapped__") and any(_holds_cached(cell) for cell in cells)


def _holds_cached(cell: Any) -> bool:
    try:
        return isinstance(cell.cell_contents, _CACHED)
    except ValueError:  # an empty cell
        return False


def _own_cache(method: Callable[..., Any], module: torch.nn.Module) -> Callable[..., Any]:
    """The method with a cache of its own, without a reference cycle through the module."""
    owner = weakref.ref(module)

    @functools.lru_cache(maxsize=_SIZE)
    def call(*args: Any, **kwargs: Any) -> Any:
        return method(owner(), *args, **kwargs)

    return call
