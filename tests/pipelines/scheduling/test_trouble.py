"""What led to an error is found, however errors refer to each other."""

import pytest
import torch

from pipelines.scheduling.trouble import DeviceLost, forget_frames, require_device


def circle() -> BaseException:
    """As of a library that wraps an error, and then raises the one that it wrapped."""
    try:
        try:
            try:
                raise OSError("first")
            except OSError as first:
                raise RuntimeError("wrapped") from first
        except RuntimeError as wrapped:
            assert wrapped.__cause__ is not None
            raise wrapped.__cause__  # noqa: B904
    except OSError as error:
        return error


def test_errors_that_lead_to_each_other_have_an_end() -> None:
    error = circle()
    require_device(error)
    forget_frames(error)
    wrapped = error.__context__
    assert wrapped is not None and wrapped.__cause__ is error
    assert error.__traceback__ is None and wrapped.__traceback__ is None


@pytest.mark.parametrize("lost", ["handled", "named"])
def test_both_ways_to_an_error_are_followed(lost: str) -> None:
    """What was being handled, and what is named as the cause."""
    handled: Exception = ValueError("it is nothing")
    named: Exception = ValueError("it is nothing")
    if lost == "handled":
        handled = torch.AcceleratorError("gone")
    else:
        named = torch.AcceleratorError("gone")
    try:
        try:
            raise handled
        except Exception:
            raise RuntimeError("no") from named
    except RuntimeError as error:
        with pytest.raises(DeviceLost, match="gone"):
            require_device(error)
        forget_frames(error)
        assert handled.__traceback__ is None
