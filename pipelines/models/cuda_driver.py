"""Reasons why torch cannot use the NVIDIA GPUs of a machine, in plain words."""

import os
import re
import shutil
from pathlib import Path

MIN_DRIVERS = {12: 525, 13: 580}
"""The oldest driver branch on Linux, by major version of CUDA (NVIDIA's "CUDA Compatibility")."""

_DEVICE_FILES = ("dev/nvidiactl", "dev/nvidia-uvm", "dev/nvidia0")
_NVIDIA, _DISPLAY = "0x10de", "0x03"
_VERSION = re.compile(r"\s(\d{3,})\.\d+(?:\.\d+)?\s")


def diagnose(root: Path = Path("/")) -> str | None:
    """Return what keeps torch from using a GPU, and what helps; None on machines without one."""
    import torch

    if torch.cuda.is_available() or not has_gpu(root):
        return None
    cuda = torch.version.cuda
    if cuda is None:
        return (
            f"torch {torch.__version__} is a build without CUDA: install the one for CUDA "
            "(`pip install --force-reinstall torch` from the usual index)"
        )
    return _driver_fault(root, cuda) or _file_fault(root) or _torch_fault()


def has_gpu(root: Path = Path("/")) -> bool:
    """Return whether there is an NVIDIA GPU: a device file, a PCI device, or NVIDIA's tool."""
    if any((root / "dev").glob("nvidia[0-9]*")) or _driver_version(root):
        return True
    return any(map(_is_gpu, (root / "sys/bus/pci/devices").glob("*"))) or bool(
        shutil.which("nvidia-smi")
    )


def unsupported(index: int) -> str | None:
    """Return why this build of torch has no kernels for a GPU; None if it has."""
    import torch

    major, minor = torch.cuda.get_device_capability(index)
    built_for = torch.cuda.get_arch_list()
    if not built_for or any(_runs(it, major, minor) for it in built_for):
        return None
    return (
        f"cuda:{index} ({torch.cuda.get_device_name(index)}) has compute capability "
        f"{major}.{minor}, for which torch {torch.__version__} has no kernels: "
        "install a build of torch for an older CUDA"
    )


def _runs(arch: str, major: int, minor: int) -> bool:
    """Compare with `sm_86`, which runs on 8.6 and later 8.x, or `compute_120`, on all later."""
    kind, _, number = arch.partition("_")
    digits = int(re.sub(r"\D", "", number) or 0)
    if kind == "compute":
        return (digits // 10, digits % 10) <= (major, minor)
    return digits // 10 == major and digits % 10 <= minor


def _driver_fault(root: Path, cuda: str) -> str | None:
    version, needed = _driver_version(root), MIN_DRIVERS.get(int(cuda.split(".")[0]))
    if version is None:
        return "the NVIDIA driver is not loaded: see whether `nvidia-smi` works, and `dmesg`"
    if needed is not None and version < needed:
        return (
            f"the NVIDIA driver {version} is too old for CUDA {cuda}, which torch "
            f"{torch_version()} needs: update it to {needed} or newer, or install a build "
            "of torch for an older CUDA"
        )
    return None


def _file_fault(root: Path) -> str | None:
    files = [root / name for name in _DEVICE_FILES]
    if missing := [f"/{name}" for name in _DEVICE_FILES if not (root / name).exists()]:
        return (
            f"device files are missing ({', '.join(missing)}): run `nvidia-modprobe -u -c 0` as "
            "root, under systemd as in deploy/darkroom.service; give a container `--gpus all`"
        )
    if shut := [str(file) for file in files if not os.access(file, os.R_OK | os.W_OK)]:
        return f"this user may not open {', '.join(shut)}: see their group and permissions"
    return None


def _torch_fault() -> str:
    import torch

    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        return f"{str(error).splitlines()[0]} (does CUDA_VISIBLE_DEVICES hide them?)"
    return "torch finds no CUDA device; `python -m torch.utils.collect_env` shows what it sees"


def torch_version() -> str:
    """Return the version of torch."""
    import torch

    return str(torch.__version__)


def _driver_version(root: Path) -> int | None:
    """The branch of the loaded kernel module, such as 580."""
    try:
        told = (root / "proc/driver/nvidia/version").read_text(errors="replace")
    except OSError:
        return None
    found = _VERSION.search(told)
    return int(found.group(1)) if found else None


def _is_gpu(device: Path) -> bool:
    try:
        vendor, kind = (device / "vendor").read_text(), (device / "class").read_text()
    except OSError:
        return False
    return vendor.strip() == _NVIDIA and kind.startswith(_DISPLAY)
