"""Modules that no model on the device needs any more, in the host's memory, for a quick return.

Knows tensors and bytes; not models, nor who gives a module up. What is kept stays the same object,
with all that is tied to it.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch

from pipelines.models.quantizing import weigh

Move = Callable[[Sequence[torch.Tensor]], list[torch.Tensor]]
"""Copies of tensors, elsewhere."""

CHUNK = 2**28
"""Bytes that are pinned at a time: torch rounds what it pins up to a power of two."""
_ALIGNED = 64

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ways:
    """There and back."""

    to_host: Move
    to_device: Move


class Keeper:
    """The last modules that a device gave up, by name, up to a number of bytes."""

    def __init__(self, capacity: float, ways: Ways) -> None:
        self._capacity = capacity
        self._ways = ways
        self._kept: OrderedDict[str, tuple[torch.nn.Module, int]] = OrderedDict()

    def __contains__(self, name: str) -> bool:
        return name in self._kept

    @property
    def size(self) -> int:
        """Bytes of the host."""
        return sum(size for _, size in self._kept.values())

    def keep(self, name: str, module: torch.nn.Module, staying: Collection[str] = ()) -> None:
        """Take a module to the host, if there can be room; the one kept longest goes for it, but
        none of those that are `staying`: they are about to go back."""
        size = weigh(module)
        going = [it for it in self._kept if it not in staying]
        spared = self.size - sum(self._kept[it][1] for it in going)
        if spared + size > self._capacity or name in self._kept:
            return
        while self.size + size > self._capacity:
            del self._kept[going.pop(0)]
        try:
            _move(module, self._ways.to_host)
        except RuntimeError as error:  # the host has less to spare than it was asked for
            log.warning("nothing is kept in the host's memory: %s", error)
            return
        self._kept[name] = (module, size)

    def back(self, name: str) -> None:
        """Put a module on the device again, and keep it no longer. Raises what the device raises
        where there is no room: then it is kept."""
        module, _ = self._kept[name]
        _move(module, self._ways.to_device)
        del self._kept[name]


def keeper(device: str, capacity: float) -> Keeper | None:
    """Of a CUDA device; a CPU's modules are in the host's memory as it is."""
    if not device.startswith("cuda") or capacity <= 0:
        return None

    def to_device(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        return [it.to(device, non_blocking=True) for it in tensors]

    return Keeper(capacity, Ways(pack, to_device))


def pack(
    tensors: Sequence[torch.Tensor], pin: bool = True, chunk: int = CHUNK
) -> list[torch.Tensor]:
    """Copies in the host's memory that share few large blocks; `pin`: from which a GPU reads."""
    left = sum(map(_aligned, tensors))
    copies, block, at = [], torch.empty(0, dtype=torch.uint8), 0
    for tensor in tensors:
        size = tensor.nbytes
        if at + size > len(block):
            room = max(size, min(chunk, left))
            block, at = torch.empty(room, dtype=torch.uint8, pin_memory=pin), 0
        copy = block[at : at + size].view(tensor.dtype).view(tensor.shape)
        copies.append(copy.copy_(tensor, non_blocking=pin))
        at += _aligned(tensor)
        left -= _aligned(tensor)
    if pin:
        torch.cuda.current_stream().synchronize()
    return copies


def _aligned(tensor: torch.Tensor) -> int:
    return -(-tensor.nbytes // _ALIGNED) * _ALIGNED


def _move(module: torch.nn.Module, way: Move) -> None:
    """In place: what else refers to a tensor of the module goes with it."""
    tensors = list({id(it): it for it in (*module.parameters(), *module.buffers())}.values())
    for tensor, moved in zip(tensors, way([it.data for it in tensors]), strict=True):
        tensor.data = moved
