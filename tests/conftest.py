"""What tests of both packages share: the tiny models, built and loaded once a session."""

from pathlib import Path

import pytest
import torch
import yaml

from pipelines.registry import Registry
from tests import tiny

torch.set_num_threads(1)  # the tiny models are far too small to share between cores


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
