"""The policy's constants with other values, to see what they do."""

from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.scheduling import policy, shares


@contextmanager
def constants(ageing: float | None = None, stretch: float | None = None) -> Iterator[None]:
    """Within the block; None leaves the product's value."""
    kept = shares.AGEING, policy.STRETCH
    shares.AGEING = kept[0] if ageing is None else ageing
    policy.STRETCH = kept[1] if stretch is None else stretch
    try:
        yield
    finally:
        shares.AGEING, policy.STRETCH = kept
