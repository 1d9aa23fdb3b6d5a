"""The header of a safetensors file: its tensors' names, types and shapes. Reads no weight."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Told = tuple[str, Mapping[str, Any]]
"""A tensor's name, and its `dtype` and `shape`."""

_METADATA = "__metadata__"


def tensors(file: Path) -> Iterator[Told]:
    """The tensors in a file. Raises OSError, and ValueError for what is no such file."""
    yield from (it for it in _header(file)[1].items() if it[0] != _METADATA)


def metadata(file: Path) -> dict[str, str]:
    """The metadata in a file's header. Raises what `tensors` does."""
    found = _header(file)[1].get(_METADATA)
    return {str(key): str(value) for key, value in dict(found or {}).items()}


def raw_bytes(file: Path, name: str) -> bytes:
    """The bytes of one small tensor. Raises what `tensors` does, and KeyError."""
    start, header = _header(file)
    begin, end = header[name]["data_offsets"]
    with file.open("rb") as source:
        source.seek(start + begin)
        return source.read(end - begin)


def _header(file: Path) -> tuple[int, Mapping[str, Any]]:
    """Where the data begins, and the header."""
    with file.open("rb") as source:
        length = int.from_bytes(source.read(8), "little")
        if length > file.stat().st_size:
            raise ValueError(f"{file} is not a safetensors file, whatever its name says")
        told = json.loads(source.read(length))
    if not isinstance(told, dict):
        raise ValueError(f"{file} is not a safetensors file, whatever its name says")
    return 8 + length, told
