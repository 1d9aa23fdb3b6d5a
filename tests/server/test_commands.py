"""The commands that bring weights in and carry them on: what they say, and their exit codes."""

import shutil
from collections.abc import Callable
from pathlib import Path

import minisign
import pytest
import yaml
from typer.testing import CliRunner, Result

from pipelines.registry import Registry
from pipelines.weights import wheels
from pipelines.weights.verify import verify
from server.cli import app
from tests.conftest import entry
from tests.pipelines.weights.conftest import (  # noqa: F401 - fixtures
    Repository,
    needed,
    repository,
    tensors,
)

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Repository) -> Run:  # noqa: F811
    """Run a command in a folder with a weights.yaml, a downloaded model, and a demo."""
    monkeypatch.chdir(tmp_path)
    for where in ("download", "demo"):
        for path, data in repository.items():
            (tmp_path / where / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / where / path).write_bytes(data)
    models = {"tiny": entry("hub:owner/tiny"), "demo": entry("demo")}
    Path("weights.yaml").write_text(yaml.safe_dump({"models": models}))

    def run(*arguments: str, typed: str | None = None) -> Result:
        return CliRunner().invoke(app, arguments, input=typed, env={"COLUMNS": "200"})

    return run


def refused(result: Result, says: str) -> None:
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("darkroom: ") and result.stderr.count("\n") == 1
    assert says in result.stderr


def test_import_verify_rm(run: Run) -> None:
    result = run("import", "download", "--as", "tiny")
    assert result.exit_code == 0, result.output
    assert "tiny: 0.00 GB in models/tiny" in result.output
    assert run("verify", "tiny").output == "tiny: intact\n"
    file = Path("models/tiny/unet/config.json")
    file.write_text("[]")
    Path("models/tiny/model_index.json").rename("models/tiny/more.json")
    result = run("verify")
    assert "not installed" not in result.output
    Path("models/tiny/more.json").rename("models/tiny/model_index.json")
    result = run("verify")
    assert result.exit_code == 1
    assert "tiny: changed: unet/config.json" in result.output
    assert run("rm", "tiny").exit_code == 0
    assert list(Path("models").iterdir()) == []


def test_verify_without_manifests(run: Run) -> None:
    result = run("verify")
    assert (result.exit_code, result.output.startswith("demo: has no manifest")) == (0, True)
    assert run("verify", "demo").exit_code == 1
    refused(run("verify", "typo"), "there is no model 'typo'")
    refused(run("verify", "tiny"), "'tiny' is not installed")


@pytest.mark.parametrize("name", ["../download", ".", "", "/etc", "never"])
def test_rm_stays_in_the_models_folder(run: Run, name: str) -> None:
    refused(run("rm", name), "")
    assert Path("download").is_dir()


def test_a_single_file_is_served_like_another(run: Run) -> None:
    Path("my.safetensors").write_bytes(tensors())
    refused(run("import", "my.safetensors", "--as", "mine"), "a model that it is --like")
    refused(run("import", "my.safetensors", "--as", "mine", "--like", "no"), "no model 'no'")
    refused(run("import", "my.safetensors", "--as", "tiny"), "source of 'tiny' is hub:owner/tiny")
    refused(run("import", "download", "--as", "demo"), "the source of 'demo' is demo")
    refused(run("import", "download", "--as", "tiny", "--like", "demo"), "has an entry")
    refused(run("import", "download", "--as", "../x", "--like", "demo"), "cannot be a model's id")
    result = run("import", "my.safetensors", "--as", "mine", "--like", "tiny", "--link")
    assert result.exit_code == 0, result.output
    assert Registry(Path("weights.yaml"), Path("models")).resolve("mine") is None
    run("import", "download", "--as", "tiny")  # has what is not in the file
    registry = Registry(Path("weights.yaml"), Path("models"))
    assert registry.resolve("mine") == "mine"
    assert registry.path("mine").name == "my.safetensors"
    assert run("verify", "mine").output == "mine: intact\n"
    assert run("import", "my.safetensors", "--as", "mine", "--like", "tiny").exit_code == 0


def test_bundle_and_unbundle(run: Run, tmp_path: Path) -> None:
    Path("my.safetensors").write_bytes(tensors())
    run("import", "my.safetensors", "--as", "mine", "--like", "tiny")
    run("import", "download", "--as", "tiny")
    pair = minisign.KeyPair.generate()
    Path("pub").write_bytes(bytes(pair.public_key) + b"\n")
    pair.secret_key.encrypt("secret", opslimit=1 << 15, memlimit=1 << 24)
    Path("key").write_bytes(bytes(pair.secret_key) + b"\n")
    words = ("bundle", "mine", "tiny", "-o", "b.tar", "--split", "200k", "--sign", "key")
    result = run(*words, typed="wrong\n")
    refused_line = [line for line in result.stderr.splitlines() if "cannot sign with key" in line]
    assert (result.exit_code, len(refused_line)) == (2, 1)
    result = run(*words, typed="secret\n")
    assert result.exit_code == 0, result.output
    assert result.stdout.split() == ["b.tar.000", "b.tar.001", "b.tar.002"]
    shutil.rmtree("models")
    refused(run("unbundle", "b.tar", "--trust", str(pair.public_key)), "not a public key")
    assert run("unbundle", "b.tar", "--trust", "pub").exit_code == 0
    assert verify(Path("models/mine")).intact and verify(Path("models/tiny")).intact
    assert Registry(Path("weights.yaml"), Path("models")).resolve("mine") == "mine"
    refused(run("bundle", "never", "-o", "c.tar"), "there is no model 'never'")
    refused(run("bundle", "tiny", "-o", "c.tar", "--split", "some"), "'some' is not a size")
    refused(run("unbundle", "none.tar"), "there is no none.tar")


def test_a_disk_that_cannot_be_written_is_told(run: Run) -> None:
    Path("models").touch()
    refused(run("import", "download", "--as", "tiny"), "models")
    refused(run("bundle", "demo", "-o", "nowhere/b.tar"), "nowhere/b.tar")


def test_wheels(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(platform: str, folder: Path) -> None:
        (folder / f"darkroom-1-py3-none-{platform}.whl").touch()

    monkeypatch.setattr(wheels, "download_wheels", download)
    result = run("bundle", "demo", "-o", "b.tar", "--with-wheels", "linux-x86_64")
    assert result.exit_code == 0, result.output
    assert run("unbundle", "b.tar", "--wheels", "w").exit_code == 0
    assert [path.name for path in Path("w").iterdir()] == ["darkroom-1-py3-none-linux-x86_64.whl"]


def test_models_shows_sizes_and_what_is_verified(run: Run) -> None:
    run("import", "download", "--as", "tiny")
    lines = {line.split()[1]: line for line in run("models").output.split("Names")[0].splitlines()
             if line.startswith("│")}  # fmt: skip
    assert "verified" in lines["tiny"] and "0.5 MB" in lines["tiny"]
    assert "no manifest" in lines["demo"]
    Path("models/tiny/unet/config.json").write_text("[]")
    assert "to be verified" in run("models").output
