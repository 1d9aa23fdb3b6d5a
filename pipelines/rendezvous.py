"""Where parked calls meet: a rendezvous stands in for one method of a module that lanes share.

It knows which calls fit together, how they are merged into one, and how the answer is split again.
Who goes next is not decided here.
"""

import hashlib
import inspect
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.weak import WeakTensorKeyDictionary

from pipelines.joins import Join, Stage
from pipelines.lanes import current_lane
from pipelines.memory import Memory
from pipelines.rows import copy_of, is_nothing, kind_of, merge, split


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One lane's call of a module: its arguments by name, and what it can be merged with."""

    at: "Rendezvous"
    arguments: dict[str, Any]
    rows: int
    key: Hashable
    """Calls with equal keys may share a pass."""

    @property
    def stage(self) -> Stage:
        return self.at.join.stage


class Rendezvous:
    """Replaces `module.<join.method>`: parks the lanes that call it, runs what they ask for."""

    def __init__(self, module: torch.nn.Module, join: Join, memory: Memory) -> None:
        self.join = join
        self._module = module
        self._method = getattr(module, join.method)
        self._signature = inspect.signature(self._method)
        self._memory = memory
        self._digests = WeakTensorKeyDictionary()
        setattr(module, join.method, self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        lane = current_lane()
        if lane is None:
            return self._method(*args, **kwargs)
        call = self._call(args, kwargs)
        if self.join.remembers and (known := self._memory.get(self._identity(call))) is not None:
            return known
        return lane.park(call)

    def run(self, calls: Sequence[Call]) -> list[Any]:
        """Answer calls of equal key in one pass; a module that remembers makes equal ones once."""
        if not self.join.remembers:
            return self._run(calls)
        names = [self._identity(call) for call in calls]
        distinct = dict(zip(names, calls, strict=True))
        answers = dict(zip(distinct, self._run(list(distinct.values())), strict=True))
        for name, answer in answers.items():
            self._memory.put(name, answer)
        return [copy_of(answers[name]) for name in names]

    def _run(self, calls: Sequence[Call]) -> list[Any]:
        if len(calls) == 1:
            return [self._method(**calls[0].arguments)]
        merged = {
            name: self._join(name, [call.arguments.get(name) for call in calls])
            for name in calls[0].arguments
        }
        return split(self._method(**merged), [call.rows for call in calls])

    def _join(self, name: str, values: list[Any]) -> Any:
        alike = name in self.join.shared or name in self.join.unused
        return values[0] if alike else merge(values)

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        arguments = dict(self._signature.bind(*args, **kwargs).arguments)
        for name, kind in self._signature.parameters.items():
            if kind.kind is inspect.Parameter.VAR_KEYWORD:
                arguments.update(arguments.pop(name, {}))
        if self.join.rows_of is None:
            return Call(self, arguments, 1, object())
        rows = arguments[self.join.rows_of].shape[0]
        for name in self.join.spread & arguments.keys():
            arguments[name] = _spread(arguments[name], arguments[self.join.rows_of])
        return Call(self, arguments, rows, self._key(arguments, rows))

    def _key(self, arguments: dict[str, Any], rows: int) -> Hashable:
        kinds = [
            (name, self._digest(value) if name in self.join.shared else kind_of(value, rows))
            for name, value in arguments.items()
            if name not in self.join.unused and not is_nothing(value)
        ]
        return id(self), tuple(sorted(kinds, key=lambda kind: kind[0]))

    def _digest(self, tensor: torch.Tensor) -> Hashable:
        """A tensor's content; computed once a tensor, since lanes pass the same one every step."""
        if tensor not in self._digests:
            self._digests[tensor] = (tensor.shape, tensor.dtype, _content(tensor))
        return self._digests[tensor]  # type: ignore[no-any-return]

    def _identity(self, call: Call) -> Hashable:
        """Equal for calls that must have equal answers."""
        tensors = tuple(_content(v) for v in call.arguments.values() if torch.is_tensor(v))
        return call.key, tensors


def _spread(value: Any, like: torch.Tensor) -> torch.Tensor:
    tensor = torch.as_tensor(value, device=like.device)
    return tensor.expand(like.shape[0]) if tensor.ndim == 0 else tensor


def _content(tensor: torch.Tensor) -> bytes:
    flat = tensor.detach().contiguous().view(-1).view(torch.uint8).cpu()
    return hashlib.blake2b(flat.numpy().tobytes(), digest_size=16).digest()
