"""What tests of both packages share: tiny models, built once, where files are put, and how many
cases are made up."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, settings

from pipelines.registry import Registry
from tests.live import serving
from tests.support import devices

# The tiny models are far too small to share between cores, here and in the processes of tests.
os.environ.setdefault("OMP_NUM_THREADS", "1")

_no_device = devices.prepare()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip everything where DARKROOM_TEST_DEVICE cannot be pretended.

    On a pretended device the tests of `pipelines` run with two families: `tests/cuda` has them all.
    """
    for item in items if _no_device else ():
        item.add_marker(pytest.mark.skip(reason=_no_device))
    if devices.DEVICE != "cpu":
        left_out = [item for item in items if _is_of_other_family(item)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _is_of_other_family(item: pytest.Item) -> bool:
    arguments = (
        item.callspec.params
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
        else {}
    )
    family = arguments.get("family")
    return "tests/pipelines/" in str(item.path) and family not in (None, "sd", "flux")


def _serves(folder: Path) -> bool:
    """Whether temporary files may lie there, programs among them."""
    if not os.access(folder, os.W_OK) or os.statvfs(folder).f_flag & os.ST_NOEXEC:
        return False
    return shutil.disk_usage(folder).free > 4 * 2**30


# Thousands of databases are made, and each is synced: in memory that takes no time.
if not {"TMPDIR", "PYTEST_DEBUG_TEMPROOT"} & os.environ.keys() and _serves(Path("/dev/shm")):
    os.environ["PYTEST_DEBUG_TEMPROOT"] = "/dev/shm"

# Every property-based test makes up so many cases.
settings.register_profile(
    "darkroom",
    max_examples=int(os.environ.get("DARKROOM_TEST_CASES", "60")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("darkroom")


@pytest.fixture(scope="session")
def tiny_registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """A weights.yaml with a tiny model of each family, installed."""
    from tests import tiny  # it takes seconds, and most tests of the server need none of it

    folder = tmp_path_factory.mktemp("tiny")
    for family in tiny.FAMILIES:
        tiny.build(family, folder)
    file = folder / "weights.yaml"
    file.write_text(yaml.safe_dump({"models": {f: entry(f) for f in tiny.FAMILIES}}))
    return Registry(file, Path("models"))


@pytest.fixture(scope="session")
def plain_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server as it comes, with the demo model; nobody kills or counts what is there."""
    with serving(tmp_path_factory.mktemp("plain")) as url:
        yield url


def entry(source: str) -> dict[str, object]:
    """A weights.yaml entry for a tiny model in the folder `source`."""
    preset = {"steps": 4, "guidance_scale": 4.0}
    return {
        "source": source,
        "dtype": "float32",
        **({"offload": "none"} if devices.DEVICE != "cpu" else {}),
        "native": {"smallest": 64, "largest": 128, "multiple": 16},
        "quality": {"low": preset, "medium": preset, "high": preset},
    }
