from collections.abc import Iterator

import pytest

import server.fleet.fleet  # noqa: F401  whatever it derives from the tree must be in the table as well
from pipelines.core import JobCancelled, JobError, JobFailed, WorkerLost
from server import answers, errors
from server.handover.responses import error_response


def leaves(kind: type[Exception]) -> Iterator[type[Exception]]:
    below = kind.__subclasses__()
    if not below:
        yield kind
    for each in below:
        yield from leaves(each)


def all_below(kind: type[Exception]) -> Iterator[type[Exception]]:
    for each in kind.__subclasses__():
        yield each
        yield from all_below(each)


LEAVES = [*leaves(errors.ApiError), *leaves(JobError)]


@pytest.mark.parametrize("kind", LEAVES)
def test_every_leaf_of_the_tree_is_in_the_table(kind: type[Exception]) -> None:
    assert kind in answers.TABLE


def test_the_table_has_nothing_else() -> None:
    assert set(answers.TABLE) - set(LEAVES) == {
        Exception,
        JobFailed,
        WorkerLost,
    }  # the last two have leaves below them


def test_the_drawn_tree_is_the_real_one() -> None:
    drawn = {
        line.split("─ ")[1].split()[0]
        for line in (errors.__doc__ or "").splitlines()
        if "─ " in line
    }
    assert drawn == {kind.__name__ for kind in all_below(errors.ApiError)}


def test_the_inside_of_the_server_is_not_told() -> None:
    for error in (JobFailed("/secret/path: CUDA"), RuntimeError("secret")):
        assert "secret" not in answers.message(error)
        assert answers.answer(error).status == 500


def test_an_unknown_job_error_is_a_500() -> None:
    class New(JobError):
        pass

    assert answers.answer(New("boom")).status == 500


@pytest.mark.parametrize(
    ("wait_s", "header"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (7.2, "8"), (300.0, "300")]
)
def test_a_full_queue_says_when_to_come_back(wait_s: float, header: str) -> None:
    response = error_response(errors.QueueFull(wait_s))
    assert response.headers["retry-after"] == header
    assert response.status_code == 429
    assert "x-should-retry" not in response.headers


def test_what_passes_may_be_retried_and_what_does_not_may_not() -> None:
    assert "x-should-retry" not in error_response(RuntimeError()).headers
    assert error_response(errors.Draining()).headers["retry-after"] in ("6", "7")
    assert error_response(JobCancelled()).headers["retry-after"] in ("6", "7")
    for error in (JobFailed(), errors.UnknownPath("x"), errors.EmptyString("x", "prompt")):
        assert error_response(error).headers["x-should-retry"] == "false"
