"""The functions that stand in for those of torch.cuda."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch

from tests.support.pretend_cuda import devices as state
from tests.support.pretend_cuda.devices import Card, Native, cards, cuda_error, index_of


class DeviceContext:
    """torch.cuda.device."""

    def __init__(self, device: Any) -> None:
        self.index = index_of(device)

    def __enter__(self) -> None:
        self.before = index_of()
        Native.set_current(self.index)

    def __exit__(self, *_: object) -> None:
        Native.set_current(self.before)


def _set_device(device: Any) -> None:
    state.require_working(index_of(device))
    Native.set_current(index_of(device))


def _card(device: Any = None) -> Card:
    return cards[index_of(device)]


def _mem_get_info(device: Any = None) -> tuple[int, int]:
    card = _card(device)
    state.read_control_files(card)
    return int(card.total - card.taken - card.reserved), int(card.total)


def _empty_cache() -> None:
    for card in cards:
        card.reserved = card.live


def _reset_peak(device: Any = None) -> None:
    _card(device).peak = _card(device).live


def _properties(device: Any = None) -> SimpleNamespace:
    card = _card(device)
    return SimpleNamespace(
        name="Pretend GPU",
        total_memory=card.total,
        major=9,
        minor=0,
        multi_processor_count=132,
        warp_size=32,
        gcnArchName="",
        uuid=f"pretend-{card.index}",
    )


def _set_fraction(fraction: float, device: Any = None) -> None:
    _card(device).fraction = fraction


SURFACE: dict[str, Any] = {
    "_lazy_init": lambda: None,
    "init": lambda: None,
    "is_initialized": lambda: True,
    "is_available": lambda: True,
    "_is_compiled": lambda: True,
    "_is_in_bad_fork": lambda: False,
    "device_count": lambda: len(cards),
    "current_device": lambda: index_of(),
    "set_device": _set_device,
    "device": DeviceContext,
    "_DeviceGuard": DeviceContext,
    "synchronize": lambda device=None: state.wait("synchronize", index_of(device)),
    "Stream": state.Stream,
    "Event": state.Event,
    "stream": state.StreamContext,
    "StreamContext": state.StreamContext,
    "set_stream": state.set_stream,
    "current_stream": state.current_stream,
    "default_stream": state.default_stream,
    "mem_get_info": _mem_get_info,
    "empty_cache": _empty_cache,
    "memory_allocated": lambda device=None: _card(device).live,
    "max_memory_allocated": lambda device=None: _card(device).peak,
    "memory_reserved": lambda device=None: _card(device).reserved,
    "max_memory_reserved": lambda device=None: _card(device).reserved,
    "reset_peak_memory_stats": _reset_peak,
    "memory_stats": lambda device=None: {},
    "ipc_collect": lambda: None,
    "set_per_process_memory_fraction": _set_fraction,
    "get_per_process_memory_fraction": lambda device=None: _card(device).fraction,
    "get_device_properties": _properties,
    "get_device_name": lambda device=None: _properties(device).name,
    "get_device_capability": lambda device=None: (9, 0),
    "is_bf16_supported": lambda including_emulation=True: True,
    "get_arch_list": lambda: ["sm_90"],
    "can_device_access_peer": lambda one, other: True,
    "is_current_stream_capturing": lambda: False,
    "manual_seed": lambda seed: None,
    "manual_seed_all": lambda seed: None,
    "get_rng_state": lambda device=None: torch.get_rng_state(),
    "set_rng_state": lambda new_state, device=None: None,
}


def break_driver(fault: str) -> None:
    """Fail as drivers do at start.

    `none`: no device; `old`: the driver is too old; `busy`: another process has exclusive use;
    `full`: no memory for a context. With a number, such as `busy1`, only that device fails.
    """
    kind = fault.rstrip("0123456789")
    which = fault[len(kind) :]
    if kind == "none":
        torch.cuda.device_count, torch.cuda.is_available = lambda: 0, lambda: False
    elif kind:
        error = {
            "old": RuntimeError(
                "The NVIDIA driver on your system is too old (found version 11040). "
                "Please update your GPU driver"
            ),
            "busy": cuda_error("CUDA-capable device(s) is/are busy or unavailable"),
            "full": cuda_error("out of memory"),
        }[kind]
        for name in ("set_device", "get_device_properties"):
            setattr(torch.cuda, name, _failing(getattr(torch.cuda, name), error, which))


def _failing(plain: Callable[..., Any], error: Exception, which: str) -> Callable[..., Any]:
    def call(device: Any = None) -> Any:
        if not which or str(index_of(device)) == which:
            raise error
        return plain(device)

    return call
