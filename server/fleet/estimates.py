"""How long jobs and loading take: learned from those that were finished.

Pure bookkeeping. Knows no device and no queue; who asks adds up.
"""

from collections.abc import Callable

from pipelines.core import Job

GUESS_S = 1.0
WEIGHT = 0.2
"""Of the newest measurement, once there were a few."""

BYTES_A_SECOND = 1e9
LOAD_AT_LEAST_S = 1.0


class _Mean:
    """The mean of the first few values, later an exponential one."""

    __slots__ = ("count", "value")

    def __init__(self) -> None:
        self.value, self.count = 0.0, 0

    def add(self, value: float) -> None:
        self.count += 1
        self.value += max(WEIGHT, 1 / self.count) * (value - self.value)


class Estimates:
    """Predicted seconds of a device, for jobs and for loading models."""

    def __init__(self, size_of: Callable[[str], int]) -> None:
        """`size_of(model)`: the bytes of its weights, for a first guess at loading them."""
        self._size_of = size_of
        self._steps: dict[tuple[str, str, int, int], _Mean] = {}
        self._pixels: dict[str, _Mean] = {}
        self._loads: dict[str, _Mean] = {}

    @property
    def measured(self) -> bool:
        """Whether there is more than guesses."""
        return bool(self._steps)

    def finished(self, job: Job, seconds: float) -> None:
        """A job was made, and its share of the passes took so long."""
        if seconds <= 0:
            return
        step = seconds / job.steps_run
        self._steps.setdefault(_kind(job), _Mean()).add(step)
        self._pixels.setdefault(job.model, _Mean()).add(step / (job.width * job.height))

    def loaded(self, model: str, seconds: float) -> None:
        """A model was loaded in so long."""
        self._loads.setdefault(model, _Mean()).add(seconds)

    def work_s(self, job: Job) -> float:
        """By jobs like it; else by others of its model, in proportion to pixels; else a guess."""
        if (like := self._steps.get(_kind(job))) is not None:
            return like.value * job.steps_run
        if (model := self._pixels.get(job.model)) is not None:
            return model.value * job.width * job.height * job.steps_run
        return GUESS_S

    def load_s(self, model: str) -> float:
        """As it was; else by the size of the files."""
        if model in self._loads:
            return self._loads[model].value
        return LOAD_AT_LEAST_S + self._size_of(model) / BYTES_A_SECOND


def _kind(job: Job) -> tuple[str, str, int, int]:
    return job.model, job.task, job.width, job.height
