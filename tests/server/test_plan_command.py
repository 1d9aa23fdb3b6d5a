"""`darkroom plan`, on the installed model and on one that is far too large."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from pipelines.registry import Registry
from server.cli import app
from server.plan_command import CARDS_GB, cards_table
from tests.conftest import entry

GB = 2**30


def write_model(folder: Path, sizes: dict[str, int]) -> None:
    """A folder whose headers tell of weights that are not there."""
    kinds = {"transformer": "FluxTransformer2DModel", "text_encoder": "T5EncoderModel"}
    for component, size in sizes.items():
        (folder / component).mkdir(parents=True)
        name = "model" if component == "text_encoder" else "diffusion_pytorch_model"
        layers = {f"{n}": {"dtype": "BF16", "shape": [size // 20]} for n in range(10)}
        header = json.dumps(layers).encode()
        file = folder / component / f"{name}.safetensors"
        file.write_bytes(len(header).to_bytes(8, "little") + header)
    index = {"_class_name": "FluxPipeline"}
    index |= {it: ["diffusers", kinds[it]] for it in sizes}
    (folder / "model_index.json").write_text(json.dumps(index))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    write_model(tmp_path / "large", {"transformer": 24 * GB, "text_encoder": 10 * GB})
    write_model(tmp_path / "whole", {"transformer": 24 * GB, "text_encoder": 10 * GB})
    file = tmp_path / "weights.yaml"
    models = {
        "large": entry("large") | {"dtype": "bfloat16"},
        "whole": entry("whole") | {"dtype": "bfloat16", "offload": "none"},
        "absent": entry("absent"),
    }
    file.write_text(yaml.safe_dump({"models": models}))
    return file


def test_a_row_for_each_installed_model(weights: Path, tmp_path: Path) -> None:
    table = cards_table(Registry(weights, tmp_path), 0.9)
    rows = list(zip(*(list(column.cells) for column in table.columns), strict=True))
    of = [dict(zip((0, 0, 0, *CARDS_GB), row, strict=True)) for row in rows]
    assert [row[:3] for row in rows] == [
        ("large", "auto", "36.5 GB"),
        ("whole", "none", "36.5 GB"),
    ]
    assert [of[0][card] for card in CARDS_GB[:6]] == [
        "group", "group", "group", "group", "text", "none",
    ]  # fmt: skip
    assert [of[1][card] for card in (24, 32, 48)] == ["no", "no", "none"]


def test_the_command_says_what_the_words_mean(weights: Path, tmp_path: Path) -> None:
    arguments = ["plan", "--weights", str(weights), "--models-dir", str(tmp_path / "models")]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "160"})
    assert result.exit_code == 0, result.output
    assert "they may take 90%" in result.output
    assert "text  text encoders come layer by layer" in result.output
    assert CliRunner().invoke(app, [*arguments, "--memory", "2"]).exit_code == 2
