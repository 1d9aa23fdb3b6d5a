"""What a server and its workers say to each other: plain dataclasses, pickled by `Connection.send`.

The pixels of a `Finished` or `Shown` follow it as bytes of their own, so that they are copied once.
"""

from dataclasses import dataclass
from pathlib import Path

from pipelines.core import Job, JobError
from pipelines.registry import ModelSpec


@dataclass(frozen=True, slots=True)
class Begin:
    """The first word to a worker: which device it owns and which models there are."""

    device: str
    """`cpu`, `cuda:N`, or `auto`: the first CUDA device if there is one, else the CPU."""
    models: dict[str, tuple[ModelSpec, Path]]
    preload: list[str]
    threads: int | None


@dataclass(frozen=True, slots=True)
class Run:
    """Make this image."""

    job: Job


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
    loading: list[str]
    lanes: int
    ready: bool
    """Everything that is preloaded has been loaded, or could not be."""


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


@dataclass(frozen=True, slots=True)
class Failed:
    """A job will not become an image."""

    job_id: str
    error: JobError


ToWorker = Begin | Run | Cancel
FromWorker = Hello | State | Shown | Finished | Failed
