"""The benchmark for GPUs runs on any device, from its first line to its last."""

import pytest

from bench import gpu
from bench.full_size import FAMILIES
from tests.support.devices import DEVICE


@pytest.mark.parametrize("family", FAMILIES)
def test_small_benchmark_runs_to_its_end(family: str, capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(["--device", DEVICE, "--families", family, "--small"])
    told = capsys.readouterr().out
    assert f"{family}, 32x32, 1 steps" in told
    for line in (
        "8 rows",
        "one image",
        "eight at once",
        "a known prompt",
        "1 steps among 2, ours",
    ):
        assert line in told
