"""The device on which the tests of `pipelines` run.

DARKROOM_TEST_DEVICE=cuda:0 runs them on a pretended CUDA device (see `pretend_cuda`); the default
is the CPU. The process is then of no use for other tests.
"""

import os

DEVICE = os.environ.get("DARKROOM_TEST_DEVICE", "cpu")
MEMORY = 8 * 2**30
"""Bytes of each pretended device."""


def prepare() -> str | None:
    """Make `DEVICE` exist in this process, or return the reason why tests must be skipped."""
    if not DEVICE.startswith("cuda"):
        return None
    from tests.support import pretend_cuda

    reason = pretend_cuda.missing()
    if reason is None:
        pretend_cuda.install(2, MEMORY)
    return reason
