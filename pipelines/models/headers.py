"""The header of a safetensors file: its tensors' names, types and shapes. Reads no weight."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Told = tuple[str, Mapping[str, Any]]
"""A tensor's name, and its `dtype` and `shape`."""


def tensors(file: Path) -> Iterator[Told]:
    """The tensors in a file. Raises OSError, and ValueError for what is no such file."""
    yield from (it for it in _header(file).items() if it[0] != "__metadata__")


def _header(file: Path) -> Mapping[str, Any]:
    with file.open("rb") as source:
        length = int.from_bytes(source.read(8), "little")
        if length > file.stat().st_size:
            raise ValueError(f"{file} is not a safetensors file, whatever its name says")
        told = json.loads(source.read(length))
    if not isinstance(told, dict):
        raise ValueError(f"{file} is not a safetensors file, whatever its name says")
    return told
