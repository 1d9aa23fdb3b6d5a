"""Rows: joining the values of several calls into one, and splitting the answer again.

Works on tensors and on dicts, lists, tuples and model outputs of them. Knows no module and no lane.
"""

from collections.abc import Hashable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch


def kind_of(value: Any, rows: int) -> Hashable:
    """What two calls' values for one argument must have in common to be joined, row by row."""
    if torch.is_tensor(value):
        joins = value.ndim > 0 and value.shape[0] == rows
        return (value.shape[1:], value.dtype) if joins else id(value)
    if isinstance(value, Mapping):
        return tuple((name, kind_of(part, rows)) for name, part in sorted(value.items()))
    if isinstance(value, list | tuple):
        return tuple(kind_of(part, rows) for part in value)
    return value if isinstance(value, Hashable) else id(value)


def kind_of_list(entries: Sequence[Any], multiple: int) -> Hashable:
    """The same of two lists with an entry a row: which kinds of entries there are.

    Tensors whose lengths round up to the same multiple are of one kind.
    """
    return tuple(sorted({repr(_kind_of_entry(entry, multiple)) for entry in entries}))


def _kind_of_entry(entry: Any, multiple: int) -> Hashable:
    if not torch.is_tensor(entry):
        return kind_of(entry, 0)
    length = -(-entry.shape[0] // multiple) * multiple
    return length, entry.shape[1:], entry.dtype


def merge_lists(lists: Sequence[Sequence[Any]]) -> list[Any]:
    """Lists with an entry a row -> one with all entries, in order."""
    return [entry for entries in lists for entry in entries]


def merge(values: Sequence[Any]) -> Any:
    """Values of equal kind -> one value with all their rows, in order."""
    first = values[0]
    if torch.is_tensor(first):
        return torch.cat(list(values))
    if isinstance(first, Mapping):
        return {name: merge([value[name] for value in values]) for name in first}
    if isinstance(first, list | tuple):
        return type(first)(merge(parts) for parts in zip(*values, strict=True))
    return first


def split(answer: Any, rows: Sequence[int], listed: bool = False) -> list[Any]:
    """A merged answer -> each call's own, where `rows[i]` rows are call i's.

    `listed`: lists in it have an entry a row.
    """
    if torch.is_tensor(answer):
        return list(torch.split(answer, list(rows)))
    if isinstance(answer, Mapping):
        parts = {name: split(part, rows, listed) for name, part in answer.items()}
        return [type(answer)(**{n: p[i] for n, p in parts.items()}) for i in range(len(rows))]
    if listed and isinstance(answer, list):
        ends = list(accumulate(rows))
        return [answer[end - count : end] for end, count in zip(ends, rows, strict=True)]
    if isinstance(answer, list | tuple):
        columns = [split(part, rows, listed) for part in answer]
        return [type(answer)(column[i] for column in columns) for i in range(len(rows))]
    return [answer for _ in rows]


def copy_of(answer: Any) -> Any:
    """The same answer in tensors of its own, that no lane shares with another."""
    if torch.is_tensor(answer):
        return answer.clone()
    if isinstance(answer, Mapping):
        return type(answer)(**{name: copy_of(part) for name, part in answer.items()})
    if isinstance(answer, list | tuple):
        return type(answer)(copy_of(part) for part in answer)
    return answer


def size_of(answer: Any) -> int:
    """The bytes of an answer's tensors."""
    if torch.is_tensor(answer):
        return answer.numel() * answer.element_size()
    parts = answer.values() if isinstance(answer, Mapping) else answer
    return sum(size_of(part) for part in parts) if isinstance(answer, Mapping | list | tuple) else 0


def is_nothing(value: Any) -> bool:
    """`{}`, `[]` and None mean the same to every denoiser."""
    return value is None or (isinstance(value, Mapping | list | tuple) and not value)
