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
from server.commands.cli import app
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
    assert "tiny: 0.5 MB in models/tiny" in result.output
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
    refused(run("import", "my.safetensors", "--as", "mine", "--like", "tiny"), "no place for w")
    assert verify(Path("models/mine")).intact, "and what was there is still there"


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


def test_loras_are_taken_in_verified_and_carried(run: Run, tmp_path: Path) -> None:
    Path("odd.safetensors").write_bytes(tensors(100, 1))
    run("import", "download", "--as", "tiny")
    told = run("import", "odd.safetensors", "--as", "odd", "--lora", "--base", "tiny")
    assert told.output == "loras/odd: 0.0 MB in models/loras/odd.safetensors\n"
    assert "loras/odd: intact\n" in run("verify").output
    assert run("bundle", "tiny", "--lora", "odd", "-o", "b.tar").exit_code == 0
    told = run("unbundle", "b.tar", "--models-dir", "there")
    assert "loras/odd: 0.0 MB in there/loras/odd" in told.output
    assert Path("there/loras/odd.yaml").read_text() == "base:\n- tiny\n"
    Path("there/loras/odd.safetensors").write_bytes(tensors(100, 2))
    result = run("verify", "--models-dir", "there")
    told = "loras/odd: changed: odd.safetensors\n"
    assert (result.exit_code, told in result.output) == (1, True)
    odd = ("import", "odd.safetensors", "--as", "odd")
    refused(run(*odd, "--lora", "--base", "nothing"), "there is no model 'nothing'")
    refused(run(*odd, "--base", "tiny"), "--base is for a LoRA")
    refused(run(*odd, "--lora", "--like", "tiny"), "--like is for a model")
    refused(run("bundle", "tiny", "--lora", "even", "-o", "c.tar"), "there is no LoRA 'even'")
    assert not Path("c.tar").exists()


def test_loras_are_verified_by_name(run: Run) -> None:
    Path("odd.safetensors").write_bytes(tensors(100, 1))
    run("import", "odd.safetensors", "--as", "odd", "--lora", "--base", "tiny")
    Path("models/loras/bare.safetensors").write_bytes(tensors(100, 1))
    bare = "loras/bare: has no manifest to verify it by\n"
    assert (run("verify", "--lora", "odd").output, run("verify").exit_code) == (
        "loras/odd: intact\n",
        0,
    )
    assert bare in run("verify").output
    result = run("verify", "--lora", "odd", "--lora", "bare")
    assert (result.exit_code, result.output) == (1, f"loras/odd: intact\n{bare}")
    refused(run("verify", "--lora", "never"), "there is no LoRA 'never'")
    refused(run("verify", "--lora", "../odd"), "there is no LoRA")
    Path("models/loras/left.yaml").write_text("base: tiny")
    Path("models/loras/.half.partial").mkdir()
    for name in ("left", "half"):
        refused(run("verify", "--lora", name), f"there is no LoRA '{name}'")
        assert run("rm", "--lora", name).exit_code == 0
    Path("models/loras/odd.safetensors").unlink()
    told = "loras/odd: missing: odd.safetensors\n"
    assert (run("verify", "--lora", "odd").output, run("verify").exit_code) == (told, 1)
    assert run("rm", "--lora", "odd").exit_code == 0
    assert [it.name for it in Path("models/loras").iterdir()] == ["bare.safetensors"]


def test_a_lora_in_its_place_gets_its_manifest_and_keeps_its_base(run: Run) -> None:
    Path("models/loras").mkdir(parents=True)
    for name, text in {"odd.safetensors": tensors(100, 1), "odd.yaml": b"base: tiny"}.items():
        Path("models/loras", name).write_bytes(text)
    for link in ((), ("--link",)):
        words = ("import", "models/loras/odd.safetensors", "--as", "odd", "--lora", *link)
        assert run(*words).exit_code == 0
        assert run("verify", "--lora", "odd").output == "loras/odd: intact\n"
        left = sorted(it.name for it in Path("models/loras").iterdir())
        assert left == ["odd.manifest.json", "odd.safetensors", "odd.yaml"]
        assert Path("models/loras/odd.yaml").read_bytes() == b"base: tiny"


def test_a_start_clears_up_after_a_command_that_was_killed(run: Run) -> None:
    run("import", "download", "--as", "tiny")
    Path("models/tiny").rename("models/.tiny.aside")
    assert run("verify", "tiny").output == "tiny: intact\n"
    for words in (("models",), ("plan",), ("serve", "--port", "1", "--host", "203.0.113.7")):
        Path("models/tiny").rename("models/.tiny.aside")
        run(*words)
        assert Path("models/tiny").is_dir()
    Path("models/tiny").rename("models/.tiny.aside")
    assert run("rm", "tiny").output == "tiny: 0.5 MB freed\n"
    assert list(Path("models").iterdir()) == []


@pytest.fixture
def writer(run: Run) -> Path:
    """A rewriter, installed in the folder that weights.yaml names."""
    folder = Path("writer")
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(tensors(100, 1))
    Path("more.yaml").write_text("rewriter: {source: writer}")
    return folder


BOTH = ("--weights", "weights.yaml", "--weights", "more.yaml")


def test_a_rewriter_is_carried_verified_and_removed_like_a_model(run: Run, writer: Path) -> None:
    run("import", "download", "--as", "tiny")
    refused(run("bundle", "rewriter", "-o", "b.tar"), "no weights file defines 'rewriter'")
    refused(run("bundle", "policy-prompts", "-o", "b.tar", *BOTH), "no weights file defines")
    assert run("bundle", "tiny", "rewriter", "-o", "b.tar", *BOTH).exit_code == 0
    there = ("--models-dir", "there")
    told = run("unbundle", "b.tar", *there).output
    assert told == "tiny: 0.5 MB in there/tiny\nrewriter: 0.0 MB in there/rewriter\n"
    assert "rewriter: intact\n" in run("verify", *there).output
    assert run("verify", "rewriter", *there).output == "rewriter: intact\n"
    (row,) = (it for it in run("models", *there).output.splitlines() if "rewriter" in it)
    assert "verified" in row
    Path("there/rewriter/config.json").write_text("[]")
    result = run("verify", *there)
    assert (result.exit_code, "rewriter: changed: config.json" in result.output) == (1, True)
    assert run("rm", "rewriter", *there).exit_code == 0
    assert sorted(it.name for it in Path("there").iterdir()) == ["tiny"]
    assert run("rm", "rewriter").exit_code == 2 and writer.is_dir()


def test_what_was_carried_in_vain_is_told(run: Run, writer: Path) -> None:
    run("import", "download", "--as", "tiny")
    assert run("bundle", "tiny", "rewriter", "-o", "b.tar", *BOTH).exit_code == 0
    told = run("unbundle", "b.tar", *BOTH, "--models-dir", "there").output
    assert "rewriter: is not used: its source is writer\n" in told
    assert "tiny: is not used" not in told
    Path("more.yaml").write_text("rewriter: {url: http://10.0.0.7/v1, model: small}")
    told = run("unbundle", "b.tar", *BOTH, "--models-dir", "there").output
    assert "rewriter: is not used: the weights files" in told


def test_rm_deletes_all_that_was_named_or_nothing(run: Run) -> None:
    Path("odd.safetensors").write_bytes(tensors(100, 1))
    run("import", "download", "--as", "tiny")
    run("import", "odd.safetensors", "--as", "odd", "--lora", "--base", "tiny")
    run("import", "odd.safetensors", "--as", "even", "--lora")
    refused(run("rm", "tiny", "never"), "there is no models/never")
    refused(run("rm", "tiny", "--lora", "never"), "there is no LoRA 'never'")
    refused(run("rm", "tiny", "--lora", "../../odd"), "there is no LoRA")
    refused(run("rm", "loras"), "name each with --lora")
    refused(run("rm"), "name what is to be deleted")
    assert Path("models/tiny").is_dir() and Path("models/loras/odd.safetensors").is_file()
    told = run("rm", "tiny", "--lora", "odd")
    assert told.output == "tiny: 0.5 MB freed\nloras/odd: 0.0 MB freed\n"
    assert [it.name for it in Path("models").iterdir()] == ["loras"]
    left = sorted(it.name for it in Path("models/loras").iterdir() if it.is_file())
    assert left == ["even.manifest.json", "even.safetensors"]
    assert Path("odd.safetensors").is_file()


def test_a_rewriter_of_the_hub_s_is_taken_in_from_here(run: Run, writer: Path) -> None:
    Path("hub.yaml").write_text("rewriter: {source: 'hub:a/writer'}")
    files = ("--weights", "weights.yaml", "--weights", "hub.yaml")
    (writer / "README.md").write_text("# Writer")
    told = run("import", "writer", "--as", "rewriter", *files)
    assert told.output == "rewriter: 0.0 MB in models/rewriter\n"
    here = sorted(it.name for it in Path("models/rewriter").iterdir() if it.name[0] != ".")
    assert here == ["config.json", "manifest.json", "model.safetensors"]
    assert run("verify", "rewriter", *files).output == "rewriter: intact\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--as", "rewriter"), "no weights file defines 'rewriter'"),
        (("--as", "rewriter", *BOTH), "the source of 'rewriter' is writer"),
        (("--as", "rewriter", "--weights", "hub.yaml", "--like", "demo"), "is like no model"),
        (("--as", "rewriter", "--weights", "hub.yaml"), "no safetensors of transformers"),
        (("--as", "loras", "--like", "demo"), "is taken in with --lora"),
    ],
)
def test_what_is_not_taken_in_by_these_names(
    run: Run, writer: Path, arguments: tuple[str, ...], says: str
) -> None:
    Path("hub.yaml").write_text("rewriter: {source: 'hub:a/writer'}")
    refused(run("import", "download", *arguments), says)
    assert not list(Path().glob("models/*"))


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


def test_models_shows_names_as_they_are(run: Run) -> None:
    place = Path("[old]").absolute()
    entries = {"models": {"mine": entry(str(place))}, "names": {"[bold]x": ["mine"]}}
    Path("weights.yaml").write_text(yaml.safe_dump(entries))
    told = run("models").output
    assert "[old]" in told and "[bold]x" in told


def test_models_shows_loras(run: Run) -> None:
    assert "LoRA" not in run("models").output
    Path("odd.safetensors").write_bytes(tensors(100, 1))
    run("import", "odd.safetensors", "--as", "odd", "--lora", "--base", "tiny")
    Path("models/loras/bare.safetensors").write_bytes(tensors(100, 1))
    rows = [line.split("│") for line in run("models").output.splitlines() if "│" in line]
    cells = {row[1].strip(): [cell.strip() for cell in row[2:-1]] for row in rows}
    assert cells["odd"] == ["0.0 MB", "has a manifest", "tiny"]
    assert cells["bare"] == ["0.0 MB", "no manifest", ""]
    Path("models/loras/odd.manifest.json").write_text("{")
    refused(run("models"), "is not a manifest")
