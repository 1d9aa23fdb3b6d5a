"""`darkroom plan`, on the installed model and on one that is far too large."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from pipelines.models import quantizations
from pipelines.registry import Registry
from server.commands.cli import app
from server.commands.plan_command import cards_table, elsewhere, missing
from tests.conftest import entry

GB = 2**30


def write_model(folder: Path, sizes: dict[str, int], pipeline: str = "FluxPipeline") -> None:
    """A folder whose headers tell of weights that are not there."""
    folder.mkdir(exist_ok=True)
    kinds = {"transformer": "FluxTransformer2DModel", "text_encoder_2": "T5EncoderModel"}
    for component, size in sizes.items():
        (folder / component).mkdir(parents=True)
        name = "model" if component == "text_encoder_2" else "diffusion_pytorch_model"
        shape = [4096, size // 20 // 4096]
        layers = {f"layers.{n}.weight": {"dtype": "BF16", "shape": shape} for n in range(10)}
        header = json.dumps(layers).encode()
        file = folder / component / f"{name}.safetensors"
        file.write_bytes(len(header).to_bytes(8, "little") + header)
    index: dict[str, Any] = {"_class_name": pipeline}
    index |= {it: ["diffusers", kinds[it]] for it in sizes}
    (folder / "model_index.json").write_text(json.dumps(index))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    write_model(tmp_path / "large", {"transformer": 24 * GB, "text_encoder_2": 10 * GB})
    write_model(tmp_path / "whole", {"transformer": 24 * GB, "text_encoder_2": 10 * GB})
    file = tmp_path / "weights.yaml"
    models = {
        "large": entry("large") | {"dtype": "bfloat16"},
        "whole": entry("whole") | {"dtype": "bfloat16", "offload": "none"},
        "small": entry("large") | {"dtype": "bfloat16", "quantization": "auto"},
        "nf4": entry("large") | {"dtype": "bfloat16", "quantization": "nf4"},
        "absent": entry("absent"),
    }
    file.write_text(yaml.safe_dump({"models": models}, sort_keys=False))
    return file


def test_a_row_for_each_installed_model(weights: Path, tmp_path: Path) -> None:
    table = cards_table(Registry(weights, tmp_path), 0.9)
    rows = list(zip(*(list(column.cells) for column in table.columns), strict=True))
    assert rows == [
        ("large", "36.5 GB", "auto", "none",
         "8 GB: no\n12 to 24 GB: group\n32 GB: text\n48 to 141 GB: none"),
        ("whole", "36.5 GB", "none", "none", "8 to 32 GB: no\n48 to 141 GB: none"),
        ("small", "36.5 GB", "auto", "auto",
         "8 GB: no\n12 to 16 GB: nf4\n24 GB: float8\n32 GB: text\n48 to 141 GB: none"),
        ("nf4", "36.5 GB", "auto", "nf4", "8 GB: no\n12 to 141 GB: nf4"),
    ]  # fmt: skip


def test_the_command_says_what_the_words_mean(weights: Path, tmp_path: Path) -> None:
    arguments = ["plan", "--weights", str(weights), "--models-dir", str(tmp_path / "models")]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "160"})
    assert result.exit_code == 0, result.output
    assert "which may take 90% of a card" in result.output
    assert "text    text encoders come layer by layer" in result.output
    assert "pip install" not in result.output
    assert CliRunner().invoke(app, [*arguments, "--memory", "2"]).exit_code == 2


def test_what_is_missing_is_named_and_not_chosen(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantizations, "find_spec", lambda package: None)
    registry = Registry(weights, tmp_path)
    hint = "pip install 'darkroom[quant]'"
    assert missing(registry) == [
        f"small: float8 needs torchao: {hint}",
        f"small: nf4 needs bitsandbytes: {hint}",
        f"nf4: nf4 needs bitsandbytes: {hint}",
    ]
    *_, small = [list(column.cells)[2] for column in cards_table(registry, 0.9).columns]
    assert small == "8 GB: no\n12 to 24 GB: group\n32 GB: text\n48 to 141 GB: none"


def write_other(folder: Path, shape: list[int]) -> None:
    """The same of a model of transformers, in float32."""
    folder.mkdir()
    header = json.dumps({"a": {"dtype": "F32", "shape": shape}}).encode()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)


def test_a_narrow_terminal_tells_none_from_no(weights: Path) -> None:
    arguments = ["plan", "--weights", str(weights)]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "80"})
    assert "│ 12 to 24 GB: group" in result.output
    assert "│ 8 to 32 GB: no   " in result.output
    assert "…" not in result.output


def test_what_a_rewriter_takes_of_its_card_is_told(weights: Path, tmp_path: Path) -> None:
    write_other(tmp_path / "writer", [GB])
    told = weights.read_text()
    for device, lines in [("cuda:1", 1), ("cpu", 0)]:
        weights.write_text(f"{told}rewriter: {{source: writer, device: '{device}'}}")
        assert len(elsewhere(Registry(weights, tmp_path))) == lines
    weights.write_text(f"{told}rewriter: {{source: writer}}")
    result = CliRunner().invoke(app, ["plan", "--weights", str(weights)])
    assert "rewriter: takes 2.1 GB, and 1 GiB, of the one card" in result.output
    weights.write_text(f"{told}rewriter: {{source: hub:a/b}}")
    assert elsewhere(Registry(weights, tmp_path)) == []


def test_what_looks_at_images_has_its_memory_first(weights: Path, tmp_path: Path) -> None:
    write_other(tmp_path / "cutter", [GB])
    weights.write_text(weights.read_text() + "matting: cutter\n")
    table = cards_table(Registry(weights, tmp_path), 0.9)
    assert "less 4.3 GB" in str(table.title)
    *_, first = [list(column.cells)[0] for column in table.columns]
    assert first == "8 to 12 GB: no\n16 to 32 GB: group\n48 to 141 GB: none"


def test_what_reads_pictures_for_a_model_is_beside_it(weights: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "prior", {"transformer": 12 * GB}, "FluxPriorReduxPipeline")
    prior = entry("prior") | {"tasks": ["variation"], "dtype": "bfloat16"}
    said = yaml.safe_load(weights.read_text())
    said["models"]["large"]["variation"] = "prior"
    weights.write_text(yaml.safe_dump(said | {"models": said["models"] | {"prior": prior}}))
    table = cards_table(Registry(weights, tmp_path), 0.9)
    names, *_, ways = [list(column.cells) for column in table.columns]
    told = dict(zip(names, ways, strict=True))
    assert told["large"] == "8 to 24 GB: no\n32 GB: group\n48 GB: text\n80 to 141 GB: none"


def test_what_cannot_be_read_is_told_as_it_is(tmp_path: Path) -> None:
    write_model(tmp_path / "large [x]", {"transformer": 24 * GB})
    header = tmp_path / "large [x]" / "transformer" / "diffusion_pytorch_model.safetensors"
    header.write_bytes(b"\xff" * 20)
    file = tmp_path / "weights.yaml"
    file.write_text(yaml.safe_dump({"models": {"large": entry("large [x]")}}))
    told = CliRunner().invoke(app, ["plan", "--weights", str(file)], env={"COLUMNS": "300"})
    assert "cannot be read: " in told.output and "large [x]" in told.output
