"""A job on its way: what the queue, the choice of a device and the policy see of it."""

from bench.simulation.arrivals import Kind
from bench.simulation.models import PassTime
from pipelines.core import Job, Priority
from pipelines.lanes.joins import Stage


class Lane:
    """From its arrival to its image. It moves on by passes; who runs them is not its business."""

    __slots__ = (
        "alone", "arrived", "awaited", "caller", "device_seconds", "job", "key", "kind",
        "pass_time", "priority", "rows", "stage", "steps_left", "weight", "work_s",
    )  # fmt: skip

    def __init__(self, job: Job, kind: Kind, arrived: float, work_s: float) -> None:
        self.job, self.kind, self.arrived, self.work_s = job, kind, arrived, work_s
        self.caller, self.weight = job.caller, job.weight
        self.priority: Priority = job.priority
        self.steps_left = kind.steps
        self.device_seconds = 0.0
        self.awaited = kind.streams
        self.alone = False
        self.stage: Stage | None = None
        self.key, self.rows = "", 1
        self.pass_time: PassTime
        self._enter(Stage.ENCODE)

    @property
    def ended(self) -> bool:
        return self.stage is None

    def move(self, passes: int) -> None:
        """It took part in so many passes, or is given them back."""
        if self.stage is Stage.DENOISE:
            self.steps_left -= passes

    def settle(self) -> None:
        """On to the next stage, if this one is over."""
        if self.stage is Stage.DENOISE:
            self.awaited = False
            if self.steps_left == 0:
                self._enter(Stage.DECODE)
        elif self.stage is not None:
            self._enter(Stage(self.stage + 1) if self.stage < Stage.DECODE else None)

    def _enter(self, stage: Stage | None) -> None:
        """A stage, or the first after it that takes any time."""
        shape = self.kind.shape
        while stage is not None and (pass_time := shape.pass_time(stage)) is None:
            stage = Stage(stage + 1) if stage < Stage.DECODE else None
        self.stage = stage
        if stage is not None:
            self.key, self.pass_time = shape.key(stage), pass_time
            self.rows = shape.rows if stage is Stage.DENOISE else 1
