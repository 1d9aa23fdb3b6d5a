"""Why torch finds no GPU is told in plain words."""

import re
from pathlib import Path

import pytest
import torch

from pipelines.models import cuda_driver
from pipelines.models.cuda_driver import MIN_DRIVERS, diagnose, has_gpu, unsupported
from tests.live import ROOT

VERSION = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {}.65.06  Release Build\n"


@pytest.fixture(autouse=True)
def _no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(cuda_driver.shutil, "which", lambda name: None)


def machine(root: Path, driver: int | None = None, files: bool = False, pci: bool = False) -> Path:
    """Make the files by which a GPU and its driver are known."""
    if driver is not None:
        (root / "proc/driver/nvidia").mkdir(parents=True)
        (root / "proc/driver/nvidia/version").write_text(VERSION.format(driver))
    if files:
        (root / "dev").mkdir()
        for name in ("nvidiactl", "nvidia-uvm", "nvidia0"):
            (root / "dev" / name).touch()
    if pci:
        device = root / "sys/bus/pci/devices/0000:01:00.0"
        device.mkdir(parents=True)
        (device / "vendor").write_text("0x10de\n")
        (device / "class").write_text("0x030000\n")
    return root


def test_machine_without_a_gpu_has_no_fault(tmp_path: Path) -> None:
    assert not has_gpu(tmp_path)
    assert diagnose(tmp_path) is None


def test_working_gpu_has_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert diagnose(machine(tmp_path, 580, files=True)) is None


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"pci": True}, "driver is not loaded"),
        ({"driver": 570, "files": True}, r"driver 570 is too old for CUDA 13.0.*580 or newer"),
        ({"driver": 580}, r"/dev/nvidia-uvm.*nvidia-modprobe -u -c 0.*--gpus all"),
    ],
)
def test_fault_names_its_remedy(tmp_path: Path, made: dict[str, int], said: str) -> None:
    assert re.search(said, diagnose(machine(tmp_path, **made)) or "")  # type: ignore[arg-type]


def test_tool_alone_is_evidence_of_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert has_gpu(tmp_path)


def test_build_without_cuda_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "build without CUDA" in (diagnose(machine(tmp_path, 580, files=True)) or "")


def test_hidden_devices_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def init() -> None:
        raise RuntimeError("No CUDA GPUs are available")

    monkeypatch.setattr(torch.cuda, "init", init)
    assert "CUDA_VISIBLE_DEVICES" in (diagnose(machine(tmp_path, 580, files=True)) or "")


@pytest.mark.parametrize(
    ("archs", "capability", "runs"),
    [
        (["sm_75", "sm_86", "sm_90"], (8, 9), True),
        (["sm_75", "sm_86", "sm_90"], (7, 0), False),
        (["sm_75", "sm_120", "compute_120"], (12, 1), True),
        (["sm_90a", "sm_100"], (10, 3), True),
        (["sm_90"], (10, 0), False),
        (["sm_90", "compute_90"], (10, 0), True),
        ([], (5, 0), True),
    ],
)
def test_gpu_without_kernels_is_told_from_one_with(
    archs: list[str], capability: tuple[int, int], runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: archs)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "GPU")
    assert (unsupported(0) is None) is runs


def test_image_docs_and_code_agree_on_cuda_and_driver() -> None:
    image = re.search(r"^FROM nvidia/cuda:(\d+)\.", (ROOT / "Dockerfile.cuda").read_text(), re.M)
    assert image is not None
    needed = MIN_DRIVERS[int(image.group(1))]
    docs = (ROOT / "docs/operations.md").read_text()
    assert f"CUDA {image.group(1)}" in docs and f"driver {needed} or newer" in docs
    assert re.search(
        r"^torch==2\.(1[1-9]|[2-9]\d)", (ROOT / "constraints.txt").read_text(), re.M
    ), "since 2.11, torch's usual builds are for CUDA 13"
