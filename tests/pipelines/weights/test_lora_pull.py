"""LoRAs from a hub on a real socket: one file, whole, under the name that was asked for."""

import shutil
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.lora_files import LoraFiles
from pipelines.weights import lora_pull
from pipelines.weights.hub import Remote, RemoteFile
from pipelines.weights.lora_manifests import manifest_of, require_trusted_lora
from pipelines.weights.lora_pull import LoraSource, lora_source, pull_lora
from pipelines.weights.manifest import WeightsError
from tests.pipelines.weights.conftest import Repository, tensors
from tests.pipelines.weights.hub_server import REVISION, Hub
from tests.pipelines.weights.test_pull import (  # noqa: F401 - fixtures
    Pull,
    hub,
    pull,
    refused,
    small_disk,
)

FILE = "pytorch_lora_weights.safetensors"


@pytest.fixture
def repository() -> Repository:
    return {"README.md": b"# A LoRA", FILE: tensors(50_000, 5), "image.png": b"png"}


@pytest.fixture
def loras(tmp_path: Path) -> LoraFiles:
    return LoraFiles(tmp_path / "models" / "loras")


def names(loras: LoraFiles) -> list[str]:
    return sorted(it.name for it in loras.folder.iterdir())


def test_its_file_arrives_with_its_manifest_and_its_base(
    pull: Pull,  # noqa: F811
    hub: Hub,  # noqa: F811
    loras: LoraFiles,
) -> None:
    answer = pull("--lora", "odd=owner/tiny", "--base", "tiny", "--base", "folder")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == "loras/odd: 0.1 MB in models/loras/odd.safetensors\n"
    assert names(loras) == ["odd.manifest.json", "odd.safetensors", "odd.yaml"]
    target = loras.folder / "odd.safetensors"
    manifest = manifest_of(target)
    assert target.read_bytes() == hub.files[FILE] and require_trusted_lora(target)
    assert manifest is not None
    assert (manifest.repository, manifest.revision) == ("owner/tiny", REVISION)
    assert loras.bases("odd") == {"tiny", "folder"}
    assert {path for path, _ in hub.ranges} == {FILE}


def test_of_several_files_one_is_named(
    pull: Pull,  # noqa: F811
    hub: Hub,  # noqa: F811
    loras: LoraFiles,
    tmp_path: Path,
) -> None:
    hub.files["more/other.safetensors"] = tensors(100, 9)
    refused(pull("--lora", "odd=owner/tiny"), "has 2 .safetensors files; name one", tmp_path)
    refused(pull("--lora", "odd=owner/tiny/no.safetensors"), "has no no.safetensors", tmp_path)
    refused(pull("--lora", "odd=owner/tiny/README.md"), "has no README.md", tmp_path)
    answer = pull(
        "--lora", "odd=owner/tiny/more/other.safetensors", "--lora", f"x=owner/tiny/{FILE}"
    )
    assert answer.returncode == 0, answer.stderr
    assert loras.names == ["odd", "x"]
    assert (loras.folder / "odd.safetensors").read_bytes() == tensors(100, 9)


def test_what_is_here_is_not_fetched_again_and_keeps_its_base(
    pull: Pull,  # noqa: F811
    hub: Hub,  # noqa: F811
    loras: LoraFiles,
) -> None:
    pull("--lora", "odd=owner/tiny", "--base", "tiny")
    hub.ranges.clear()
    assert pull("--lora", "odd=owner/tiny").returncode == 0
    assert (hub.ranges, loras.bases("odd")) == ([], {"tiny"})
    hub.files[FILE] = tensors(50_000, 6)
    assert pull("--lora", "odd=owner/tiny").returncode == 0
    assert (loras.folder / "odd.safetensors").read_bytes() == tensors(50_000, 6)
    assert require_trusted_lora(loras.folder / "odd.safetensors")
    assert loras.bases("odd") is None, "it is another LoRA"


def test_a_full_disk_is_seen_before(
    pull: Pull,  # noqa: F811
    hub: Hub,  # noqa: F811
    tmp_path: Path,
) -> None:
    refused(pull("--lora", "odd=owner/tiny", wrap=small_disk("20k")), "is too full", tmp_path)
    assert hub.ranges == []


def test_only_what_is_not_here_needs_room(
    loras: LoraFiles, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, partial = loras.folder / "odd.safetensors", loras.folder / ".odd.partial"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))

    def pulled(data: bytes) -> bool:
        there = RemoteFile(len(data), sha256(data).hexdigest(), None)
        monkeypatch.setattr(
            lora_pull, "look", lambda *_: Remote("owner/tiny", REVISION, {FILE: there})
        )
        pull_lora(lora_source("odd=owner/tiny"), loras.folder)
        return require_trusted_lora(target)

    partial.mkdir(parents=True)
    (partial / target.name).write_bytes(repository[FILE][:-1])
    with pytest.raises(WeightsError, match="is too full"):
        pulled(repository[FILE])
    (partial / target.name).write_bytes(repository[FILE])
    assert pulled(repository[FILE]), "all of it is staged"
    before = target.stat().st_ino
    assert pulled(repository[FILE]) and target.stat().st_ino == before, "it is not copied"
    assert not partial.exists()
    with pytest.raises(WeightsError, match="is too full"):
        pulled(tensors(50_000, 6))
    assert require_trusted_lora(target) and target.stat().st_ino == before


def test_what_was_changed_here_is_fetched_again(
    pull: Pull,  # noqa: F811
    hub: Hub,  # noqa: F811
    loras: LoraFiles,
) -> None:
    pull("--lora", "odd=owner/tiny")
    target = loras.folder / "odd.safetensors"
    target.write_bytes(tensors(50_000, 6))
    hub.ranges.clear()
    assert pull("--lora", "odd=owner/tiny").returncode == 0
    assert hub.ranges == [(FILE, "bytes=0-")]
    assert target.read_bytes() == hub.files[FILE]


def test_a_run_that_was_killed_is_gone_on_with_by_the_next(
    pull: Pull,  # noqa: F811
    hub: Hub,  # noqa: F811
    loras: LoraFiles,
) -> None:
    partial = loras.folder / ".odd.partial"
    partial.mkdir(parents=True)
    (partial / "odd.safetensors").write_bytes(hub.files[FILE][:7_777])
    assert pull("--lora", "odd=owner/tiny").returncode == 0
    assert hub.ranges == [(FILE, "bytes=7777-")]
    assert require_trusted_lora(loras.folder / "odd.safetensors")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "name what is to be fetched"),
        (("--lora", "odd"), "is not NAME=OWNER/REPOSITORY"),
        (("--lora", "../odd=owner/tiny"), "cannot be a LoRA's name"),
        (("--lora", "odd=owner/tiny", "--base", "never"), "there is no model 'never'"),
        (("tiny", "--base", "tiny"), "--base is for LoRAs"),
        (("--lora", "odd=owner/tiny", "--variant", "fp16"), "--variant is for models"),
        (("--lora", "odd=owner/tiny/no.safetensors"), "has no no.safetensors"),
        (("--lora", "odd=owner/never"), "there is no "),
        (("tiny", "--lora", "odd="), "is not NAME=OWNER/REPOSITORY"),
    ],
)
def test_what_is_refused_leaves_nothing(
    pull: Pull,  # noqa: F811
    loras: LoraFiles,
    tmp_path: Path,
    words: tuple[str, ...],
    says: str,
) -> None:
    refused(pull(*words), says, tmp_path)
    assert not loras.folder.exists()


def test_what_is_no_lora_file_is_refused(
    pull: Pull,  # noqa: F811
    hub: Hub,  # noqa: F811
    loras: LoraFiles,
    tmp_path: Path,
) -> None:
    hub.files[FILE] = b"\x80\x04pickled" * 2_000
    refused(pull("--lora", "odd=owner/tiny"), "is not a safetensors", tmp_path)
    del hub.files[FILE]
    refused(pull("--lora", "odd=owner/tiny"), "has 0 .safetensors files", tmp_path)
    assert loras.names == []


def test_how_a_source_is_written() -> None:
    assert lora_source("a=hub:o/r") == lora_source("a=o/r") == LoraSource("a", "o/r")
    assert lora_source("a.b=o/r/x/y.safetensors") == LoraSource("a.b", "o/r", "x/y.safetensors")
    for wrong in ("a=o", "=o/r", "o/r", "a=/r", "a=o/r/"):
        with pytest.raises(WeightsError):
            lora_source(wrong)
