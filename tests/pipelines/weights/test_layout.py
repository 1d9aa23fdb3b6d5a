"""Which files of a repository are fetched; the names are those of real ones."""

import json
from pathlib import Path

import pytest

from pipelines.weights.layout import needed, variant_of
from pipelines.weights.manifest import WeightsError
from tests.pipelines.weights.conftest import Repository


def test_one_set_of_weights_and_nothing_else(repository: Repository, needed_: list[str]) -> None:
    index = json.loads(repository["model_index.json"])
    assert sorted(needed(repository, index)) == needed_


@pytest.fixture
def needed_(needed: list[str]) -> list[str]:
    return needed


INDEX = {"transformer": ["diffusers", "T"], "tokenizer": ["transformers", "C"], "x": [None, None]}


@pytest.mark.parametrize(
    ("there", "variant", "chosen"),
    [
        (["model.safetensors", "model.fp16.safetensors"], None, ["model.safetensors"]),
        (["model.safetensors", "model.fp16.safetensors"], "fp16", ["model.fp16.safetensors"]),
        (["model.safetensors"], "fp16", ["model.safetensors"]),
        (["model.fp16.safetensors", "model.bf16.safetensors"], None, ["model.fp16.safetensors"]),
        (["model.non_ema.safetensors", "model.safetensors"], None, ["model.safetensors"]),
        (
            [
                "diffusion_pytorch_model.safetensors.index.json",
                "diffusion_pytorch_model-00001-of-00001.safetensors",
                "diffusion_pytorch_model.safetensors",
            ],
            None,
            [
                "diffusion_pytorch_model.safetensors.index.json",
                "diffusion_pytorch_model-00001-of-00001.safetensors",
            ],
        ),
        (
            ["model.safetensors.index.fp16.json", "model.fp16-00001-of-00001.safetensors"],
            "fp16",
            ["model.safetensors.index.fp16.json", "model.fp16-00001-of-00001.safetensors"],
        ),
        (
            [
                "diffusion_pytorch_model.safetensors.index.fp16.json",
                "diffusion_pytorch_model-00001-of-00001.fp16.safetensors",
            ],
            None,
            [
                "diffusion_pytorch_model.safetensors.index.fp16.json",
                "diffusion_pytorch_model-00001-of-00001.fp16.safetensors",
            ],
        ),
        (["config.json", "pytorch_model.bin.index.json", "a.msgpack"], None, ["config.json"]),
        (["vocab.json", "merges.txt", "spiece.model", "chat_template.jinja", "a.py"], None,
         ["vocab.json", "merges.txt", "spiece.model", "chat_template.jinja"]),
    ],
)  # fmt: skip
def test_the_choice_within_a_component(
    there: list[str], variant: str | None, chosen: list[str]
) -> None:
    files = [f"transformer/{name}" for name in there] + ["model_index.json", "whole.safetensors"]
    files += ["transformer/deeper/model.safetensors", "vae/model.safetensors"]
    wanted = ["model_index.json", *sorted(f"transformer/{name}" for name in chosen)]
    assert sorted(needed(files, INDEX, variant)) == sorted(wanted)


def test_weights_that_are_only_pickled_are_refused() -> None:
    with pytest.raises(WeightsError, match="transformer are there in pickled form only"):
        needed(["transformer/diffusion_pytorch_model.bin", "transformer/config.json"], INDEX)


def test_the_variant_of_what_is_installed(tmp_path: Path) -> None:
    for name in ("unet/diffusion_pytorch_model.fp16.safetensors", "vae/model.safetensors"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    assert variant_of(tmp_path) == "fp16"
    (tmp_path / "unet" / "diffusion_pytorch_model.safetensors").touch()
    assert variant_of(tmp_path) is None
