"""What the fleet says of itself: the plain data behind `/status` and `/readyz`.

No logic.
"""

from dataclasses import dataclass, field
from typing import Literal

from pipelines.content import Mode

State = Literal["starting", "loading", "ready", "restarting", "set aside"]


@dataclass(frozen=True, slots=True)
class Loading:
    """A model on its way into memory; `fraction` is 0 to 1, or None where it cannot be told."""

    model: str
    fraction: float | None = None


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """One device and the worker process that owns it."""

    id: str
    pid: int | None
    state: State
    resident: list[str] = field(default_factory=list)
    loading: list[Loading] = field(default_factory=list)
    lanes: int = 0
    images_done: int = 0
    deaths: int = 0
    """Of its workers."""
    passes: dict[int, int] = field(default_factory=dict)
    """How many there were of so many rows."""
    busy_s: float = 0.0
    """The seconds of the device that the passes took."""
    evictions: int = 0
    """Models given up for others."""
    too_large: list[str] = field(default_factory=list)
    """Models that do not fit into its memory, even alone."""
    last_death: str | None = None
    """How its last worker ended: a signal, an exit status, or `hung`."""
    barred: list[str] = field(default_factory=list)
    """Models that are not loaded: its workers died while they loaded them."""
    suspects: int = 0
    """Jobs in quarantine that run here, with no others beside them."""


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """Images that wait or run, and the predicted wait of the next one in seconds."""

    depth: int
    wait_s: float
    waiting: int = 0
    """Those that no device has yet."""
    suspects: int = 0
    """Those in quarantine, waiting or running: they were running when a worker died."""


@dataclass(frozen=True, slots=True)
class AideStatus:
    """The process beside the workers that is asked about texts and pictures."""

    device: str
    """As it is addressed: it may be `auto`."""
    pid: int | None
    state: State
    ready: list[str] = field(default_factory=list)
    """Its models that have been read."""
    broken: list[str] = field(default_factory=list)
    """Those that could not be."""
    waiting: int = 0
    """Questions that are not answered yet."""
    answered: int = 0
    deaths: int = 0


@dataclass(frozen=True, slots=True)
class PolicyStatus:
    """The content policy."""

    mode: Mode
    terms: int
    """How many are looked for in prompts."""
    judges_prompts: bool
    """Whether a classifier does, too."""
    judges_images: bool
    """Whether one looks at images."""


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """The whole fleet at one moment; `ready` once every device has loaded what it should."""

    ready: bool
    devices: list[DeviceStatus]
    queue: QueueStatus
    aide: AideStatus | None = None
    """Where there is one."""
