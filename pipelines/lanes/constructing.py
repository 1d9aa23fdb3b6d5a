"""No pass runs while a library constructs a model: it sets torch's default dtype, for all threads.

A lane that made a tensor in such a moment would make it in half precision, and another image of
it. What takes time in loading, the reading of weights, comes after that moment.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_USUAL = torch.float32
_next, _one = threading.Lock(), threading.RLock()


@contextmanager
def undisturbed() -> Iterator[None]:
    """While within, torch's default dtype is the usual one. Begins after who asked before."""
    with _next:
        _one.acquire()
    try:
        yield
    finally:
        _one.release()


@contextmanager
def constructing() -> Iterator[None]:
    """Whenever the default dtype is another one within, no one is `undisturbed`.

    For one thread at a time.
    """
    set_dtype, apart = torch.set_default_dtype, False

    def guarded(dtype: torch.dtype, /) -> None:
        nonlocal apart
        if dtype != _USUAL and not apart:
            with _next:
                _one.acquire()
            apart = True
        set_dtype(dtype)
        if dtype == _USUAL and apart:
            apart = False
            _one.release()

    torch.set_default_dtype = guarded
    try:
        yield
    finally:
        guarded(_USUAL)  # which a library forgets when constructing fails
        torch.set_default_dtype = set_dtype
