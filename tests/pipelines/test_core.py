"""What crosses from a worker to the server arrives as what it was."""

import pickle

import pytest

from pipelines import core
from pipelines.core import JobError
from pipelines.messages import Failed

EXAMPLES: dict[str, JobError] = {
    "JobCancelled": core.JobCancelled(),
    "JobFailed": core.JobFailed("it broke"),
    "UnsupportedTask": core.UnsupportedTask("inpaint"),
    "UnfitLora": core.UnfitLora("inks", "it has no layers"),
    "DoesNotFit": core.DoesNotFit(64, 32),
    "NonFinite": core.NonFinite("decoder of the model 'x'", "Use float32."),
    "Blocked": core.Blocked(("violence",)),
    "ModelUnavailable": core.ModelUnavailable("it is not there"),
    "WorkerLost": core.WorkerLost("it died"),
    "NoDeviceLeft": core.NoDeviceLeft("none came back"),
}


def kinds(of: type[JobError] = JobError) -> list[type[JobError]]:
    """Every way in which a job can fail."""
    return [each for kind in of.__subclasses__() for each in (kind, *kinds(kind))]


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_every_failure_arrives(kind: type[JobError]) -> None:
    """One that cannot be read again would end its worker."""
    error = EXAMPLES[kind.__name__]
    error.device_seconds = 1.5
    there = pickle.loads(pickle.dumps(Failed("1", error))).error
    assert type(there) is kind
    assert (there.args, vars(there)) == (error.args, vars(error))
