"""This software and all that it needs, as wheels for a platform: installable without a network.

pip resolves and downloads; the versions are those that are installed, and so tested, here.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipelines.weights.manifest import WeightsError

PLATFORMS = {
    "linux-x86_64": [*(f"manylinux_2_{n}_x86_64" for n in range(39, 16, -1)), "linux_x86_64"],
    "linux-aarch64": [*(f"manylinux_2_{n}_aarch64" for n in range(39, 16, -1)), "linux_aarch64"],
    "macos-arm64": [f"macosx_{n}_0_arm64" for n in range(15, 10, -1)],
    "windows-x86_64": ["win_amd64"],
}
"""The tags of wheels that run there; any other tag can be named itself."""

_LEGACY = {"x86_64": ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"]}
_ITSELF = "darkroom"


def download_wheels(platform: str, folder: Path) -> None:
    """Put the wheels for a platform, and for this version of Python, into a folder.

    Raises WeightsError where pip cannot find them.
    """
    here = metadata.distribution(_ITSELF)
    _pip("wheel", "--no-deps", "--wheel-dir", str(folder), _origin(here))
    itself = next(folder.glob(f"{_ITSELF}-*.whl")).resolve()
    installed = ((it.name, it.version.split("+")[0]) for it in metadata.distributions())
    pins = [f"{name}=={version}" for name, version in installed if name != _ITSELF]
    fetch_wheels(platform, folder, [f"{_ITSELF} @ {itself.as_uri()}"], pins)


def fetch_wheels(
    platform: str, folder: Path, requirements: Iterable[str], pins: Iterable[str]
) -> None:
    """The wheels of requirements and of what they need, in the pinned versions."""
    with tempfile.TemporaryDirectory() as scratch:
        asked, pinned = Path(scratch, "requirements.txt"), Path(scratch, "constraints.txt")
        asked.write_text("\n".join(requirements))
        pinned.write_text("\n".join(pins))
        tags = [word for tag in _tags(platform) for word in ("--platform", tag)]
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        _pip(
            "download", "--only-binary=:all:", *tags, "--python-version", version,
            "--dest", str(folder), "--requirement", str(asked), "--constraint", str(pinned),
        )  # fmt: skip


def _tags(platform: str) -> list[str]:
    machine = platform.removeprefix("linux-")
    return [*PLATFORMS.get(platform, [platform]), *_LEGACY.get(machine, [])]


def _origin(installed: metadata.Distribution) -> str:
    """What pip can make this software's own wheel of: the folder it came from, or its name."""
    origin = json.loads(installed.read_text("direct_url.json") or "{}").get("url", "")
    folder = Path(unquote(urlsplit(origin).path))
    if origin.startswith("file:") and (folder / "pyproject.toml").is_file():
        return str(folder)
    return f"{_ITSELF}=={installed.version}"


def _pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *words]
    if subprocess.run(command, stdout=sys.stderr).returncode:
        raise WeightsError(f"pip could not do its part: pip {' '.join(words[:2])} …")
