"""One process beats, another sees that it has stopped."""

import subprocess
import sys
import time

from pipelines.scheduling.pulse import LEAST_S, NEVER_MEASURED_S, TIMES_LONGER, Pulse


def test_a_pass_in_another_process_is_overdue_in_its_time() -> None:
    pulse = Pulse()
    code = (
        f"from pipelines.scheduling.pulse import Pulse; pulse = Pulse({pulse.descriptor})\n"
        "pulse.beat(10.0); pulse.hear(); pulse.hear()"
    )
    assert not pulse.overdue(time.monotonic())
    subprocess.run([sys.executable, "-c", code], pass_fds=[pulse.descriptor], check=True)
    now = time.monotonic()
    assert not pulse.overdue(now + 10 * TIMES_LONGER - 30)
    assert pulse.overdue(now + 10 * TIMES_LONGER + 10)
    assert pulse.heard == 2
    pulse.close()


def test_short_and_unknown_passes_get_their_time() -> None:
    pulse, now = Pulse(), time.monotonic()
    pulse.beat(0.001)
    assert not pulse.overdue(now + LEAST_S - 1)
    pulse.beat(0.0)
    assert not pulse.overdue(now + NEVER_MEASURED_S - 1)
    pulse.rest()
    assert not pulse.overdue(now + 10 * NEVER_MEASURED_S)


def test_a_pass_that_may_be_running_still_keeps_its_time() -> None:
    """The next one is queued behind it, and a job that goes on may have to wait for both."""
    pulse, now = Pulse(), time.monotonic()
    pulse.beat(10.0)
    pulse.beat(0.001)
    pulse.go_on()
    assert not pulse.overdue(now + 10 * TIMES_LONGER - 1)
    pulse.beat(0.001)
    assert pulse.overdue(time.monotonic() + LEAST_S + 1)


def test_what_begins_was_never_measured() -> None:
    pulse, now = Pulse(), time.monotonic()
    assert pulse.resting
    pulse.begin()
    assert not pulse.resting
    assert not pulse.overdue(now + NEVER_MEASURED_S - 1)
    pulse.beat(0.001)
    assert pulse.overdue(time.monotonic() + LEAST_S + 1), "and that is over with its first pass"
