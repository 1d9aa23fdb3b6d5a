"""Taking in what is here already: a folder or a file, copied or linked, or refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pipelines.weights import importing
from pipelines.weights.importing import take_in
from pipelines.weights.manifest import WeightsError, make_manifest, read_manifest
from pipelines.weights.verify import is_remembered, verify
from tests.pipelines.weights.conftest import Repository, tensors

Write = Callable[[Repository, str], Path]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def nothing_in(folder: Path) -> bool:
    return not folder.exists() or not list(folder.iterdir())


@pytest.mark.parametrize("link", [False, True])
def test_a_folder(
    repository: Repository, needed: list[str], write: Write, models: Path, link: bool
) -> None:
    place = write(repository, "download")
    manifest = take_in(place, models, "tiny", link=link)
    assert sorted(manifest.files) == needed
    assert read_manifest(models / "tiny") == manifest == make_manifest(models / "tiny")
    assert is_remembered(models / "tiny", manifest)
    weights = "text_encoder/model.safetensors"
    assert (models / "tiny" / weights).samefile(place / weights) == link
    assert (place / "text_encoder" / "pytorch_model.bin").exists()
    assert [path.name for path in models.iterdir()] == ["tiny"]


def test_a_folder_of_links_as_the_hub_s_cache_is(
    repository: Repository, write: Write, models: Path, tmp_path: Path
) -> None:
    blobs = write(repository, "blobs")
    for path in repository:
        link = tmp_path / "snapshot" / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blobs / path)
    for link_them in (False, True):
        take_in(tmp_path / "snapshot", models, "tiny", link=link_them)
        assert not any(path.is_symlink() for path in models.rglob("*"))
        assert verify(models / "tiny").intact


@pytest.mark.parametrize(
    ("name", "data"), [("my.safetensors", tensors()), ("my.gguf", b"GGUF" + bytes(20))]
)
def test_a_single_file(models: Path, tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    manifest = take_in(tmp_path / name, models, "mine", like="sdxl")
    assert list(manifest.files) == [name]
    assert (models / "mine" / name).read_bytes() == data
    entry = yaml.safe_load((models / "mine" / "entry.yaml").read_text())
    assert entry == {"models": {"mine": {"like": "sdxl", "source": name}}}


def test_a_folder_in_its_place_gets_its_manifest(
    repository: Repository, needed: list[str], write: Write, models: Path
) -> None:
    place = write({path: repository[path] for path in needed}, "models/tiny")
    assert sorted(take_in(place, models, "tiny").files) == needed
    assert verify(place).intact
    (place / "unet" / "more.bin").touch()
    with pytest.raises(WeightsError, match="unet/more.bin is pickled"):
        take_in(place, models, "tiny")


def only_pickles(files: Repository) -> None:
    for path in [path for path in files if path.startswith("text_encoder/model")]:
        del files[path]


def parts_that_are_pickles(files: Repository) -> None:
    weight_map = {"weight_map": {"a": "pytorch_model.bin"}}
    path = "unet/diffusion_pytorch_model.safetensors.index.json"
    files[path] = json.dumps(weight_map).encode()


def code(files: Repository) -> None:
    files["unet/config.json"] = b'{"auto_map": {"AutoModel": "evil.Model"}}'


def a_custom_pipeline(files: Repository) -> None:
    files["model_index.json"] = b'{"_class_name": ["pipeline", "Evil"]}'


def a_pickle_in_disguise(files: Repository) -> None:
    files["text_encoder/model.safetensors"] = b"\x80\x04\x95"


def no_pipeline(files: Repository) -> None:
    del files["model_index.json"]


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (only_pickles, "text_encoder are there in pickled form only"),
        (parts_that_are_pickles, "refers to pytorch_model.bin"),
        (code, "asks for code"),
        (a_custom_pipeline, "names no pipeline class"),
        (a_pickle_in_disguise, "not a safetensors file"),
        (no_pipeline, "is not a diffusers folder"),
    ],
)
def test_folders_that_are_refused(
    repository: Repository,
    write: Write,
    models: Path,
    harm: Callable[[Repository], None],
    says: str,
) -> None:
    harm(repository)
    with pytest.raises(WeightsError, match=says):
        take_in(write(repository, "download"), models, "tiny")
    assert nothing_in(models)


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.ckpt", b"", "is pickled"),
        ("a.pt", b"", "is pickled"),
        ("a.bin", b"", "is pickled"),
        ("a.safetensors", b"\x80\x04", "is not a safetensors file"),
        ("a.gguf", b"\x80\x04", "is not a GGUF file"),
        ("a.zip", b"", "is neither"),
        (".safetensors", b"", "is not a plain path"),
    ],
)
def test_files_that_are_refused(
    models: Path, tmp_path: Path, name: str, data: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(WeightsError, match=says):
        take_in(tmp_path / name, models, "mine", like="sdxl")
    assert nothing_in(models)


def test_what_is_not_there(models: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is no"):
        take_in(tmp_path / "nowhere", models, "mine")


def test_what_was_there_stays_until_the_new_one_is_complete(
    repository: Repository, write: Write, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_in(write(repository, "first"), models, "tiny")
    before = read_manifest(models / "tiny")
    repository["text_encoder/model.safetensors"] = tensors(100, 9)
    place = write(repository, "second")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(importing.shutil, "copyfile", full)
        with pytest.raises(WeightsError, match="No space left"):
            take_in(place, models, "tiny")
    assert read_manifest(models / "tiny") == before
    assert verify(models / "tiny").intact
    take_in(place, models, "tiny")
    assert read_manifest(models / "tiny") != before
    assert [path.name for path in models.iterdir()] == ["tiny"]
