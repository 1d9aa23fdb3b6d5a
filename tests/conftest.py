"""What tests of both packages share: tiny models, built once, and how many cases are made up."""

import os
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import HealthCheck, settings

from pipelines.registry import Registry
from tests import tiny

torch.set_num_threads(1)  # the tiny models are far too small to share between cores

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
    folder = tmp_path_factory.mktemp("tiny")
    for family in tiny.FAMILIES:
        tiny.build(family, folder)
    file = folder / "weights.yaml"
    file.write_text(yaml.safe_dump({"models": {f: entry(f) for f in tiny.FAMILIES}}))
    return Registry(file, Path("models"))


def entry(source: str) -> dict[str, object]:
    """A weights.yaml entry for a tiny model in the folder `source`."""
    preset = {"steps": 4, "guidance_scale": 4.0}
    return {
        "source": source,
        "dtype": "float32",
        "native": {"smallest": 64, "largest": 128, "multiple": 16},
        "quality": {"low": preset, "medium": preset, "high": preset},
    }
