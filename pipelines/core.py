"""The words that both packages speak: a job, its image, and how a job can fail.

Plain data. Imports nothing of ours and nothing heavy, so that the server can import it without
torch. It knows neither how an image is made nor who asked for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Task = Literal["text2img", "img2img", "inpaint", "edit", "variation"]
Priority = Literal["high", "normal", "low"]
Strictness = Literal["low", "auto", "strict"]
"""How much of the content policy counts: each takes what the one before it does, and more."""


@dataclass(frozen=True, slots=True)
class Image:
    """Pixels: RGB, or RGBA where a job is cut out; 8 bits, rows from top to bottom."""

    width: int
    height: int
    pixels: bytes | bytearray | memoryview
    device_seconds: float = 0.0
    """What a job's image took of its device: of a pass in company, the share of its rows."""
    unread: Mapping[str, int] = field(default_factory=dict)
    """How many tokens at the end of its `prompt` or `negative_prompt` its model could not read."""
    steps: int = 0
    """How many steps were run for a job's image."""


@dataclass(frozen=True, slots=True)
class Lora:
    """Low-rank weights that a job's image is made with, beside those of its model."""

    name: str
    """Of a file in the folder of LoRAs."""
    scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One image to be made. A job is its seed: run again anywhere, it gives the same image."""

    id: str
    model: str
    """The id of an entry of weights.yaml, not the name that the client used."""
    task: Task = "text2img"
    prompt: str
    negative_prompt: str | None = None
    width: int
    """Rendered size in pixels: already one that the model is good at (see `NativeSize`)."""
    height: int
    seed: int
    steps: int
    """`num_inference_steps`."""
    guidance_scale: float
    source: Image | None = None
    """What every task but text2img begins with, in the job's own size."""
    references: tuple[Image, ...] = ()
    """Further pictures that an edit looks at, each in a size of its own."""
    mask: bytes | None = None
    """For inpaint, `width * height` bytes: 255 is repainted, 0 stays, what is between blends."""
    strength: float = 1.0
    """How far img2img and inpaint go from the source: 0 not at all, 1 to nothing of it."""
    previews: int = 0
    """How many estimates of the image to show on the way."""
    cutout: bool = False
    """Whether the background is to be transparent."""
    caller: str = ""
    """Whose fair share this job is drawn from."""
    weight: float = 1.0
    """The caller's share of the devices, against those of other callers."""
    priority: Priority = "normal"
    loras: tuple[Lora, ...] = ()
    moderation: Strictness | None = None
    """How strictly its image is judged by the content policy; None: not at all."""

    @property
    def steps_run(self) -> int:
        """About how many of its steps are run: work on a picture runs `strength` of them, which
        some families round up. How many it were is known of its image."""
        whole = self.task in ("text2img", "edit")
        return self.steps if whole else max(1, int(self.steps * self.strength))


@dataclass(frozen=True, slots=True)
class Preview:
    """An estimate of a job's image, shown on the way; `index` counts from 0."""

    index: int
    image: Image


class JobError(Exception):
    """A job that will not become an image.

    JobError
    ├── JobCancelled      nobody waits for it any more
    ├── JobFailed         its pipeline raised
    │   ├── UnsupportedTask  its model's pipeline cannot do its task
    │   ├── UnfitLora     a LoRA of it is not for its model, or is gone
    │   ├── NonFinite     a part of its model returned NaN or infinite values
    │   └── DoesNotFit    even alone it needs more memory than the device has
    ├── Blocked           its image is not what the content policy lets out
    ├── ModelUnavailable  its model could not be loaded
    └── WorkerLost        its workers died while it was running alone
        └── NoDeviceLeft  no device came back in time
    """

    device_seconds = 0.0
    """What the job took of its device all the same."""


class JobCancelled(JobError):
    """Nobody waits for this job any more."""


class JobFailed(JobError):
    """The job's pipeline raised; the message is for the operator's log."""


class UnsupportedTask(JobFailed):
    """The pipeline of the job's model cannot do what its task asks for."""

    def __init__(self, task: str) -> None:
        super().__init__(task)
        self.task = task


class UnfitLora(JobFailed):
    """A LoRA that the job names is not for its model, or is there no longer."""

    def __init__(self, name: str, reason: str = "") -> None:
        super().__init__(name, reason)
        self.name, self.reason = name, reason


class NonFinite(JobFailed):
    """A part of the job's model returned NaN or infinite values, of which no image is made."""

    def __init__(self, source: str, remedy: str) -> None:
        """`source` names the part and the model; `remedy` is a sentence for the operator."""
        super().__init__(source, remedy)
        self.source, self.remedy = source, remedy


class DoesNotFit(JobFailed):
    """Even alone the job needs more memory than its device has; so many pixels would fit."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__(width, height)
        self.width, self.height = width, height


class Blocked(JobError):
    """The job's image is of categories that the content policy keeps back; nothing else of it."""

    def __init__(self, categories: tuple[str, ...]) -> None:
        super().__init__(categories)
        self.categories = categories


class ModelUnavailable(JobError):
    """The job's model could not be loaded."""


class WorkerLost(JobError):
    """Worker after worker died while it ran this job and no other."""


class NoDeviceLeft(WorkerLost):
    """No device that could make the image works, and none came back while its client waited."""
