"""What was measured survives a restart, and a broken file harms nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.scheduling.curves import Curves
from pipelines.scheduling.times import Times


def test_times_survive(tmp_path: Path) -> None:
    curves = Curves()
    curves["k"].observe(2, 1.5, memory=64.0)
    curves["k"].cap = 4
    Times(tmp_path, "NVIDIA H200 torch 2").save(curves, now=1000.0)
    again = Times(tmp_path, "NVIDIA H200 torch 2").load()
    assert (again["k"].seconds, again["k"].cap, again["k"].row_bytes) == ({2: 1.5}, 4, 32.0)
    assert Times(tmp_path, "cpu 2 torch 2").load().all() == {}


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "{", '{"k": 1}', '{"k": {"seconds": {"x": 1}}}'),
        '{"k": {"seconds": {"1": 1.0}, "cap": "x"}}',
    ],
)
def test_a_broken_file_is_as_good_as_none(tmp_path: Path, content: str) -> None:
    times = Times(tmp_path, "cpu")
    times.save(Curves(), now=1000.0)
    next(tmp_path.iterdir()).write_text(content)
    assert times.load().all() == {}


def test_they_are_not_written_at_every_pass(tmp_path: Path) -> None:
    times, curves = Times(tmp_path, "cpu"), Curves()
    times.save(curves, now=1000.0)
    curves["k"].observe(1, 1.0)
    times.save(curves, now=1010.0)
    assert times.load().all() == {}
    times.save(curves, now=1061.0)
    assert "k" in times.load().all()


def test_workers_of_equal_devices_do_not_disturb_each_other(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from pipelines.scheduling.curves import Curves\n"
        "from pipelines.scheduling.times import Times\n"
        "curves = Curves()\n"
        "for key in range(200): curves[str(key)].observe(1, 1.0)\n"
        "times = Times(Path(sys.argv[1]), 'cuda')\n"
        "for _ in range(300): times.save(curves, 1000.0, every_s=0); assert len(times.load().all())"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    workers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert [worker.communicate(timeout=60)[1] for worker in workers] == ["", ""]


def test_no_folder_no_file() -> None:
    times = Times(None, "cpu")
    times.save(Curves(), now=1000.0)
    assert times.load().all() == {}


def test_a_folder_that_cannot_be_written_is_only_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    Times(tmp_path / "file", "cpu").save(Curves(), now=1000.0)
    assert str(tmp_path) in caplog.text
