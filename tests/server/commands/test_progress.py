import asyncio
import re
from io import StringIO

from rich.console import Console

from pipelines.registry import Registry
from server.commands.progress import ready_line, show_loading
from server.fleet.status import DeviceStatus, FleetStatus, Loading, QueueStatus

LOADING = DeviceStatus("cuda:0", 1, "loading", loading=[Loading("demo", 0.5), Loading("flux")])
DEMO_DONE = DeviceStatus("cuda:0", 1, "loading", loading=[Loading("flux")])
RESTARTING = DeviceStatus("cuda:1", None, "restarting")


def drawn(terminal: bool, *moments: list[DeviceStatus]) -> str:
    """What is drawn while the fleet goes through these moments until it is ready."""
    queue = QueueStatus(0, 0.0)
    states = [FleetStatus(False, devices, queue) for devices in moments]
    coming = iter([*states, FleetStatus(True, [], queue)])
    console = Console(file=StringIO(), force_terminal=terminal, width=80)
    asyncio.run(show_loading(lambda: next(coming), console))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def last_bars(text: str) -> int:
    """How many lines are cleared at the end."""
    match = re.search(r"(\x1b\[1A\x1b\[2K)+$", text)
    return len(match[0]) // len("\x1b[1A\x1b[2K") if match else 0


def test_what_is_busy_has_one_bar() -> None:
    text = drawn(True, *[[LOADING, RESTARTING]] * 3)
    assert last_bars(text) == 3
    for bar in ("cuda:0: loading demo", "cuda:0: loading flux", "cuda:1: restarting"):
        assert bar in text


def test_the_bar_of_what_is_loaded_goes() -> None:
    assert last_bars(drawn(True, [LOADING], [DEMO_DONE])) == 1


def test_a_ready_device_has_no_bar() -> None:
    assert "cpu" not in drawn(True, [DeviceStatus("cpu", 1, "ready")])


def test_a_log_file_gets_no_bars() -> None:
    assert "demo" not in drawn(False, [LOADING])


def test_the_line_when_all_is_ready(registry: Registry) -> None:
    assert ready_line("http://x", registry) == (
        "darkroom is ready at http://x · demo serves demo, dall-e-2, dall-e-3 and 4 more names"
    )
