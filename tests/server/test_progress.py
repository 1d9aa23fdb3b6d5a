import asyncio
from io import StringIO

from rich.console import Console

from pipelines.registry import Registry
from server.progress import ready_line, show_loading
from server.status import DeviceStatus, FleetStatus, Loading, QueueStatus

IDLE = QueueStatus(0, 0.0)


def shown(terminal: bool, *devices: DeviceStatus) -> str:
    """What is drawn for this status, which lasts three refreshes, and then the fleet is ready."""
    moments = iter([False, False, False, True])
    console = Console(file=StringIO(), force_terminal=terminal, width=80)

    def status() -> FleetStatus:
        return FleetStatus(next(moments), list(devices), IDLE)

    asyncio.run(show_loading(status, console))
    drawn: str = console.file.getvalue()  # type: ignore[attr-defined]
    return drawn


def test_every_busy_device_has_one_bar() -> None:
    loading = DeviceStatus("cuda:0", 1, "loading", loading=[Loading("demo", 0.5), Loading("flux")])
    drawn = shown(True, loading, DeviceStatus("cuda:1", None, "restarting"))
    last = drawn.split("cuda:0: loading demo")[-1]
    assert last.count("cuda:0: loading flux") == 1
    assert last.count("cuda:1: restarting") == 1


def test_a_ready_device_has_none() -> None:
    assert "cpu" not in shown(True, DeviceStatus("cpu", 1, "ready"))


def test_a_log_file_gets_no_bars() -> None:
    assert "demo" not in shown(False, DeviceStatus("cpu", 1, "loading", loading=[Loading("demo")]))


def test_the_line_when_all_is_ready(registry: Registry) -> None:
    assert ready_line("http://x", registry) == (
        "darkroom is ready at http://x · demo serves demo, dall-e-2, dall-e-3 and 4 more names"
    )
