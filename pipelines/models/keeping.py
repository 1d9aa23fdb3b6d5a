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
        self._pinned = 0

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
        if name in self._kept or not self._make_room(size, staying):
            return
        try:
            _move(module, self._ways.to_host)
        except RuntimeError as error:  # the host has less to spare than it was asked for
            log.warning("nothing is kept in the host's memory: %s", error)
            return
        self._kept[name] = (module, size)

    def pin(self, module: torch.nn.Module, size: int, staying: Collection[str] = ()) -> bool:
        """Take the weights of a streamed module to pinned memory, if there can be room for them.

        `size`: the bytes that they take there, until `unpin` is told of them.
        """
        if not self._make_room(size, staying):
            return False
        try:
            _move(module, self._ways.to_host)
        except RuntimeError as error:
            log.warning("nothing is pinned in the host's memory: %s", error)
            return False
        self._pinned += size
        return True

    def unpin(self, size: int) -> None:
        """What was pinned is gone."""
        self._pinned -= size

    def _make_room(self, size: int, staying: Collection[str]) -> bool:
        """Give up the modules kept longest, if that makes room; none of those that are staying."""
        capacity = self._capacity - self._pinned
        going = [it for it in self._kept if it not in staying]
        spared = self.size - sum(self._kept[it][1] for it in going)
        if spared + size > capacity:
            return False
        while self.size + size > capacity:
            del self._kept[going.pop(0)]
        return True

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
    sizes, places = _layout(tensors, chunk)
    blocks = [torch.empty(size, dtype=torch.uint8, pin_memory=pin) for size in sizes]
    copies = []
    for tensor, (block, at) in zip(tensors, places, strict=True):
        copy = blocks[block][at : at + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        copies.append(copy.copy_(tensor, non_blocking=pin))
    if pin:
        torch.cuda.current_stream().synchronize()
    return copies


def pinned_size(tensors: Sequence[torch.Tensor]) -> int:
    """Return the bytes that tensors take once packed: torch pins blocks of powers of two."""
    different = list({id(it): it for it in tensors}.values())
    sizes, _ = _layout(different, CHUNK)
    return sum(1 << (size - 1).bit_length() for size in sizes if size)


def _layout(tensors: Sequence[torch.Tensor], chunk: int) -> tuple[list[int], list[tuple[int, int]]]:
    """The sizes of blocks, and each tensor's block and offset in it."""
    left, at = sum(map(_aligned, tensors)), 0
    blocks: list[int] = []
    places = []
    for tensor in tensors:
        if not blocks or at + tensor.nbytes > blocks[-1]:
            blocks.append(max(tensor.nbytes, min(chunk, left)))
            at = 0
        places.append((len(blocks) - 1, at))
        at += _aligned(tensor)
        left -= _aligned(tensor)
    return blocks, places


def _aligned(tensor: torch.Tensor) -> int:
    return -(-tensor.nbytes // _ALIGNED) * _ALIGNED


def _move(module: torch.nn.Module, way: Move) -> None:
    """In place: what else refers to a tensor of the module goes with it."""
    tensors = list({id(it): it for it in (*module.parameters(), *module.buffers())}.values())
    for tensor, moved in zip(tensors, way([it.data for it in tensors]), strict=True):
        tensor.data = moved
