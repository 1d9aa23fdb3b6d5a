"""Where parked calls meet: a rendezvous stands in for one method of a module that lanes share.

It knows which calls fit together, how they are merged into one, and how the answer is split again.
Who goes next is not decided here.
"""

import hashlib
import inspect
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from pipelines.lanes.adapters import Worn, of, wear
from pipelines.lanes.joins import Join, Stage
from pipelines.lanes.lanes import Lane, current_lane
from pipelines.lanes.memory import Memory
from pipelines.lanes.rows import (
    copy_of,
    is_nothing,
    kind_of,
    kind_of_list,
    merge,
    merge_lists,
    split,
)
from pipelines.lanes.transfers import to_device

KEYS_KEPT = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One lane's call of a module: its arguments by name, and what it can be merged with."""

    at: "Rendezvous"
    arguments: dict[str, Any]
    rows: int
    key: str
    """What kind of pass it needs, the same after a restart. Calls of equal key may share one."""
    alone: bool = False
    """It may not share a pass, with whatever key."""
    worn: Worn = ()
    """The adapters that the module wears for it; part of its key."""

    @property
    def stage(self) -> Stage:
        return self.at.join.stage


def rendezvous_at(module: torch.nn.Module, method: str = "forward") -> "Rendezvous | None":
    """The rendezvous that takes the calls of a module's method, if there is one."""
    found = vars(module).get("_compiled_call_impl" if method == "forward" else method)
    return found if isinstance(found, Rendezvous) else None


class Rendezvous:
    """Replaces `module.<join.method>`: parks the lanes that call it, runs what they ask for."""

    def __init__(self, name: str, module: torch.nn.Module, join: Join, memory: Memory) -> None:
        """`name` tells these weights from all others, on this machine, now and later."""
        self.name = name if join.method == "forward" else f"{name}-{join.method}"
        self.join = join
        self._keys: dict[Hashable, str] = {}
        self._module: Any = module
        self._signature = inspect.signature(getattr(module, join.method))
        self._memory = memory
        self._method = self._take_the_place_of(join.method)

    def _take_the_place_of(self, method: str) -> Any:
        """Have calls of a method come here; returns the method as it was.

        Libraries wrap `forward` at any time, and write what they found there back over it. So a
        call of the module itself is taken where torch would put a compiled one: above all hooks.
        """
        if method == "forward":
            self._module._compiled_call_impl = self
            return self._module._call_impl
        found = getattr(self._module, method)
        setattr(self._module, method, self)
        return found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        lane = current_lane()
        if lane is None:
            return self._method(*args, **kwargs)
        call = self._call(lane, args, kwargs)
        if self.join.remembers and (known := self._memory.get(self._identity(call))) is not None:
            return lane.finite.record(self.join, call.arguments, known)
        return lane.finite.record(self.join, call.arguments, lane.park(call))

    def run(self, calls: Sequence[Call], small: bool = False) -> list[Any]:
        """Answer calls of equal key in one pass; a module that remembers makes equal ones once.

        `small`: in tiles, with less memory, where the module can.
        """
        if not self.join.remembers:
            with self._tiles() if small else nullcontext():
                return self._run(calls)
        names = [self._identity(call) for call in calls]
        distinct = dict(zip(names, calls, strict=True))
        answers = dict(zip(distinct, self._run(list(distinct.values())), strict=True))
        for name, answer in answers.items():
            self._memory.put(name, answer)
        return [copy_of(answers[name]) for name in names]

    def can_be_small(self) -> bool:
        """Whether the module can do with less memory: an autoencoder in tiles."""
        return hasattr(self._module, "use_tiling")

    @contextmanager
    def _tiles(self) -> Iterator[None]:
        self._module.enable_tiling()
        try:
            yield
        finally:
            self._module.disable_tiling()

    def _run(self, calls: Sequence[Call]) -> list[Any]:
        wear(self._module, calls[0].worn)
        if len(calls) == 1:
            return [self._method(**calls[0].arguments)]
        merged = {
            name: self._join(name, [call.arguments.get(name) for call in calls])
            for name in calls[0].arguments
        }
        listed = self.join.rows_of in self.join.listed
        return split(self._method(**merged), [call.rows for call in calls], listed)

    def _join(self, name: str, values: list[Any]) -> Any:
        if name in self.join.shared or name in self.join.unused:
            return values[0]
        return merge_lists(values) if name in self.join.listed else merge(values)

    def _call(self, lane: Lane, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        worn = of(self._module, lane.wears)
        arguments = dict(self._signature.bind(*args, **kwargs).arguments)
        for name, kind in self._signature.parameters.items():
            if kind.kind is inspect.Parameter.VAR_KEYWORD:
                arguments.update(arguments.pop(name, {}))
        _bring_together(arguments)
        if self.join.rows_of is None:
            return Call(self, arguments, 1, self._key(_shapes(arguments), worn), True, worn)
        rows = len(arguments[self.join.rows_of])
        for name in self.join.spread & arguments.keys():
            arguments[name] = _spread(arguments[name], arguments[self.join.rows_of])
        key = self._key(self._kinds(lane, arguments, rows), worn)
        return Call(self, arguments, rows, key, worn=worn)

    def _kinds(self, lane: Lane, arguments: dict[str, Any], rows: int) -> Hashable:
        """What calls must have in common, to be merged."""
        kinds = [
            (name, self._kind(lane, name, value, rows))
            for name, value in arguments.items()
            if name not in self.join.unused and not is_nothing(value)
        ]
        return tuple(sorted(kinds, key=lambda kind: kind[0]))

    def _kind(self, lane: Lane, name: str, value: Any, rows: int) -> Hashable:
        if name in self.join.shared:
            return self._digest(lane, name, value)
        if name in self.join.listed:
            return kind_of_list(value, self.join.listed[name])
        return kind_of(value, rows)

    def _key(self, kinds: Hashable, worn: Worn) -> str:
        """A short name for a kind of call; the last ones are at hand, lanes ask at every step."""
        kinds = (kinds, worn) if worn else kinds
        key = self._keys.get(kinds)
        if key is None:
            if len(self._keys) >= KEYS_KEPT:
                self._keys.clear()
            digest = hashlib.blake2b(repr(kinds).encode(), digest_size=12).hexdigest()
            key = self._keys[kinds] = f"{self.name}:{digest}"
        return key

    def _digest(self, lane: Lane, name: str, tensor: torch.Tensor) -> Hashable:
        """A tensor's content, computed once a lane: reading it waits for the device.

        What calls share are positions, which follow from the sizes of a job's texts and images.
        Some pipelines make them anew at every step.
        """
        what = (self, name, tensor.shape, tensor.dtype)
        if what not in lane.digests:
            lane.digests[what] = (tensor.shape, tensor.dtype, _content(tensor))
        return lane.digests[what]

    def _identity(self, call: Call) -> Hashable:
        """Equal for calls that must have equal answers."""
        tensors = tuple(_content(v) for v in call.arguments.values() if torch.is_tensor(v))
        return call.key, tensors


def _bring_together(arguments: dict[str, Any]) -> None:
    """Copy tensors of the host, such as timesteps, to the device of the others, without a wait."""
    tensors = {name: value for name, value in arguments.items() if torch.is_tensor(value)}
    listed = [value[0] for value in arguments.values() if isinstance(value, list) and value]
    devices = (each.device for each in (*tensors.values(), *filter(torch.is_tensor, listed)))
    device = next((device for device in devices if device.type != "cpu"), None)
    if device is None:
        return
    for name, tensor in tensors.items():
        if tensor.device.type == "cpu":
            arguments[name] = to_device(tensor, device)


def _spread(value: Any, like: torch.Tensor) -> torch.Tensor:
    tensor = torch.as_tensor(value, device=like.device)
    return tensor.expand(like.shape[0]) if tensor.ndim == 0 else tensor


def _shapes(arguments: dict[str, Any]) -> Hashable:
    return tuple((name, v.shape, v.dtype) for name, v in arguments.items() if torch.is_tensor(v))


def _content(tensor: torch.Tensor) -> bytes:
    flat = tensor.detach().contiguous().view(-1).view(torch.uint8).cpu()
    return hashlib.blake2b(flat.numpy().tobytes(), digest_size=16).digest()
