"""What the terminal shows while models load, and the line that says that all is ready.

Knows the fleet's status and the registry's names; draws, and decides nothing.
"""

import asyncio
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from pipelines.registry import Registry
from server.fleet.status import DeviceStatus, FleetStatus

_REFRESH_S = 0.2


async def show_loading(status: Callable[[], FleetStatus], console: Console) -> None:
    """Draw what every device is busy with until the fleet is ready."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    draw = console.is_terminal
    bars: dict[str, TaskID] = {}
    with Progress(*columns, console=console, transient=True, disable=not draw) as progress:
        while not (now := status()).ready:
            busy = {text: fraction for device in now.devices for text, fraction in _busy(device)}
            for text in bars.keys() - busy.keys():
                progress.remove_task(bars.pop(text))
            for text, fraction in busy.items():
                if text not in bars:
                    bars[text] = progress.add_task(text)
                total = None if fraction is None else 1
                progress.update(bars[text], total=total, completed=fraction)
            await asyncio.sleep(_REFRESH_S)


def ready_line(url: str, registry: Registry) -> str:
    """Where the server is, and which model serves which names."""
    served: dict[str, list[str]] = {}
    for name in registry.names:
        if model := registry.resolve(name):
            served.setdefault(model, []).append(name)
    models = "; ".join(f"{model} serves {_summary(names)}" for model, names in served.items())
    return f"darkroom is ready at {url} · {models or 'no model is installed'}"


def _busy(device: DeviceStatus) -> Iterator[tuple[str, float | None]]:
    for it in device.loading:
        yield f"{device.id}: loading {it.model}", it.fraction
    if not device.loading and device.state != "ready":
        yield f"{device.id}: {device.state}", None


def _summary(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more names"
