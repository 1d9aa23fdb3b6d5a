"""LoRAs are taken in whole, and are what their manifests say, or are refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.lora_files import LoraFiles
from pipelines.weights.lora_manifests import (
    known_loras,
    manifest_of,
    packed_lora,
    remove_lora,
    require_trusted_lora,
    take_in_lora,
    verify_lora,
)
from pipelines.weights.manifest import WeightsError, hash_file
from tests.pipelines.weights.conftest import tensors


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "from a site.safetensors"
    file.write_bytes(tensors(100, 1))
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models" / "loras"


@pytest.mark.parametrize("link", [False, True])
def test_it_is_there_with_its_manifest_and_its_base(file: Path, folder: Path, link: bool) -> None:
    done: list[int] = []
    manifest = take_in_lora(
        file, folder, "odd", lambda *_: done.append, bases=["sdxl", "sd"], link=link
    )
    assert sum(done) == manifest.size == file.stat().st_size
    target = folder / "odd.safetensors"
    assert target.read_bytes() == file.read_bytes()
    assert (target.stat().st_ino == file.stat().st_ino) is link
    assert manifest.files == {"odd.safetensors": hash_file(target)}
    assert manifest_of(target) == manifest
    assert require_trusted_lora(target)
    loras = LoraFiles(folder)
    assert (loras.names, loras.bases("odd")) == (["odd"], {"sd", "sdxl"})
    assert sorted(it.name for it in folder.iterdir()) == [
        "odd.manifest.json", "odd.safetensors", "odd.yaml",
    ]  # fmt: skip


def test_one_in_a_subfolder_with_a_name_in_any_script(file: Path, folder: Path) -> None:
    name, loras = "风格 [1]/_墨 水", LoraFiles(folder)
    take_in_lora(file, folder, name, bases=["sd"])
    assert (loras.names, loras.bases(name)) == ([name], {"sd"})
    assert known_loras(loras) == [name]
    report = verify_lora(loras, name)
    assert report is not None and report.intact
    assert packed_lora(loras, name).files.keys() == {"_墨 水.safetensors"}
    assert [it.name for it in folder.iterdir()] == ["风格 [1]"], "nothing unfinished is left"
    remove_lora(loras, name)
    assert loras.names == known_loras(loras) == []


def test_a_later_one_takes_its_place(file: Path, folder: Path) -> None:
    take_in_lora(file, folder, "odd", bases=["sd"])
    file.write_bytes(tensors(200, 2))
    take_in_lora(file, folder, "odd")
    assert require_trusted_lora(folder / "odd.safetensors")
    assert LoraFiles(folder).bases("odd") is None


def test_every_change_is_found(file: Path, folder: Path) -> None:
    take_in_lora(file, folder, "odd")
    target = folder / "odd.safetensors"
    data = target.read_bytes()
    for place in range(0, len(data), 37):
        target.write_bytes(data[:place] + bytes([data[place] ^ 8]) + data[place + 1 :])
        with pytest.raises(WeightsError, match="is not what its manifest says"):
            require_trusted_lora(target)
    target.write_bytes(data)
    assert require_trusted_lora(target)
    (folder / "odd.manifest.json").write_text("{}")
    with pytest.raises(WeightsError, match="is not a manifest"):
        require_trusted_lora(target)


def test_without_a_manifest_there_is_nothing_to_compare_with(file: Path) -> None:
    assert not require_trusted_lora(file)


Spoil = Callable[[Path], Path]


@pytest.mark.parametrize(
    ("name", "spoil", "says"),
    [
        ("../odd", lambda file: file, "cannot be a LoRA's name"),
        ("odd", lambda file: file.parent, "is no .safetensors file"),
        ("odd", lambda file: file.rename(file.with_suffix(".pt")), "is no .safetensors file"),
        ("odd", lambda file: file.with_name("nothing.safetensors"), "is no .safetensors file"),
        ("odd", lambda file: (file.write_bytes(b"nonsense"), file)[1], "is not a safetensors"),
    ],
    ids=["name", "folder", "pickle", "nothing", "nonsense"],
)
def test_what_is_refused_leaves_nothing(
    file: Path, folder: Path, name: str, spoil: Spoil, says: str
) -> None:
    with pytest.raises(WeightsError, match=says):
        take_in_lora(spoil(file), folder, name)
    assert not folder.exists() or not list(folder.iterdir())
