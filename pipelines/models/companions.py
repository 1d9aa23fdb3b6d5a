"""Models that a device has beside those that make images: read once, and never given up.

Knows what such a model must tell of itself; not what it is for, nor who asks it.
"""

from typing import Protocol


class Companion(Protocol):
    """One of them. What it takes is set aside before there is room for any other model."""

    @property
    def size(self) -> int:
        """Bytes of the device, by its files; 0 for files that cannot be read."""

    def prepare(self) -> None:
        """Read the weights, once. Raises nothing: whoever needs them is told what is wrong."""
