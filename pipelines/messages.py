"""What a server and its workers say to each other: plain dataclasses, pickled by `Connection.send`.

The pixels of a `Finished` or `Shown` follow it as bytes of their own, so that they are copied once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.content import Classifier
from pipelines.core import Job, JobError
from pipelines.questions import Equip
from pipelines.registry import ModelSpec


@dataclass(frozen=True, slots=True)
class Begin:
    """The first word to a worker: which device it owns and which models there are."""

    device: str
    """`cpu`, `cuda:N`, or `auto`: the first CUDA device if there is one, else the CPU."""
    models: dict[str, tuple[ModelSpec, Path]]
    preload: list[str]
    threads: int | None
    times: Path | None = None
    """The folder that keeps what was measured of devices."""
    matting: Path | None = None
    """The folder of the model that makes backgrounds transparent."""
    loras: Path | None = None
    """The folder of LoRAs."""
    inspector: Classifier | None = None
    """What judges images."""
    memory: float = 0.9
    """The share of the device's memory that models may take."""
    aside: int = 0
    """Bytes of that share that processes beside the worker take."""
    host_memory: float = 0.0
    """The share of the host's memory in which a CUDA device keeps what it has given up."""
    aide: Equip | None = None
    """What the server's aide has; where it is on the same device, it takes of the same share."""


@dataclass(frozen=True, slots=True)
class Run:
    """Make this image, that has waited for so long already."""

    job: Job
    waited_s: float = 0.0
    slot: int = -1
    """Where in the shared memory of the heartbeat the start of the job is marked; -1: nowhere."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Nobody waits for this job any more."""

    job_id: str


@dataclass(frozen=True, slots=True)
class Hello:
    """A worker has its device; `others` are the devices beside it, for `auto`."""

    device: str
    others: list[str]


@dataclass(frozen=True, slots=True)
class State:
    """What a worker is about; said whenever it changes."""

    resident: list[str]
    loading: dict[str, float]
    """How far each is, from 0 to 1."""
    lanes: int
    ready: bool
    """Everything that is preloaded has been loaded, or could not be."""
    too_large: list[str] = field(default_factory=list)
    """Installed models that would not fit even alone."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker has done since it started; said now and then."""

    passes: dict[int, int]
    """How many passes there were of so many rows."""
    busy_s: float
    """Seconds of the device that they took."""
    evictions: int


@dataclass(frozen=True, slots=True)
class Shown:
    """A preview of a job; the next message is its pixels."""

    job_id: str
    index: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Finished:
    """A job is an image; the next message is its pixels."""

    job_id: str
    width: int
    height: int
    device_seconds: float
    unread: Mapping[str, int] = field(default_factory=dict)
    steps: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """A job will not become an image."""

    job_id: str
    error: JobError


ToWorker = Begin | Run | Cancel
FromWorker = Hello | State | Work | Shown | Finished | Failed
