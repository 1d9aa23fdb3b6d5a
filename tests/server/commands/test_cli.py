import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pipelines.registry import Registry
from server.commands import serve
from server.commands.cli import app
from server.config import Config

FLAGS = [
    f"--{field.name.removesuffix('_s').replace('_', '-')}"
    for field in fields(Config)
    if field.repr  # what is secret is given in the environment alone
]


@pytest.fixture
def run(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command in a folder with a weights.yaml, without serving; the configs it came to."""
    configs: list[Config] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(serve, "run", lambda config, registry, fleet: configs.append(config))

    def run(*arguments: str, **environment: str) -> tuple[Result, list[Config]]:
        configs.clear()
        return CliRunner().invoke(app, arguments, env={"COLUMNS": "120", **environment}), configs

    return run


def test_defaults_come_from_the_config(run: Any) -> None:
    result, configs = run("serve")
    assert result.exit_code == 0, result.output
    assert configs == [Config()]


def test_flags(run: Any, tmp_path: Path) -> None:
    _, configs = run(
        "serve", "--weights", str(tmp_path / "weights.yaml"), "--models-dir", "m", "--host", "::1",
        "--port", "9", "--data-dir", "d", "--devices", "cuda:0, cuda:1", "--api-keys", "k",
        "--public-url", "https://x.org/", "--max-queue", "5",
    )  # fmt: skip
    assert configs == [
        Config(
            weights=(tmp_path / "weights.yaml",),
            models_dir=Path("m"),
            host="::1",
            port=9,
            data_dir=Path("d"),
            devices=("cuda:0", "cuda:1"),
            api_keys=Path("k"),
            public_url="https://x.org",
            max_queue=5,
        )
    ]


def test_every_flag_is_also_in_the_environment_and_the_flag_wins(run: Any) -> None:
    settings = {
        "DARKROOM_WEIGHTS": "weights.yaml",
        "DARKROOM_MODELS_DIR": "m",
        "DARKROOM_HOST": "0.0.0.0",
        "DARKROOM_PORT": "9",
        "DARKROOM_DATA_DIR": "d",
        "DARKROOM_DEVICES": "cpu,cpu",
        "DARKROOM_NO_AUTH": "1",
        "DARKROOM_PUBLIC_URL": "http://y",
        "DARKROOM_MAX_QUEUE": "7",
    }
    _, (config,) = run("serve", "--port", "10", **settings)
    assert config == Config(
        models_dir=Path("m"),
        host="0.0.0.0",
        port=10,
        data_dir=Path("d"),
        devices=("cpu", "cpu"),
        no_auth=True,
        public_url="http://y",
        max_queue=7,
    )
    Path("more.yaml").write_text("names: {more: [demo]}")
    _, (config,) = run("serve", DARKROOM_WEIGHTS="weights.yaml:more.yaml")
    _, (same,) = run("serve", "--weights", "weights.yaml", "--weights", "more.yaml")
    assert config.weights == same.weights == (Path("weights.yaml"), Path("more.yaml"))
    _, (config,) = run("serve", DARKROOM_API_KEYS="k")
    assert config.api_keys == Path("k")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("serve", "--devices", "gpu"), "'gpu' is not auto, cpu or cuda:N"),
        (("serve", "--weights", "nowhere.yaml"), "nowhere.yaml"),
        (("serve", "--public-url", "http://[::1"), "--public-url must look like"),
        (("serve", "--max-wait", "nan"), "--max-wait must be above 0"),
        (("models", "--weights", "nowhere.yaml"), "nowhere.yaml"),
        (("models", "--weights", "broken.yaml"), "broken.yaml: is not YAML"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(
    run: Any, arguments: tuple[str, ...], says: str
) -> None:
    Path("broken.yaml").write_text("[")
    result, configs = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("darkroom: ")
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert configs == []


def test_brackets_in_an_error_are_not_taken_for_markup(run: Any) -> None:
    result, _ = run("serve", "--weights", "[bold]x.yaml")
    assert "[bold]x.yaml" in result.stderr


def test_models(run: Any) -> None:
    result, _ = run("models")
    assert result.exit_code == 0
    rows = [line.split("│") for line in result.output.splitlines() if "│" in line]
    cells = {row[1].strip(): [cell.strip() for cell in row[2:-1]] for row in rows}
    assert cells["absent"][1] == "nothing installed" or cells["absent"][0] == "nothing installed"
    assert cells["dall-e-3"][0] == "demo"
    assert cells["dall-e-3"][1] == "absent"
    assert "hub:somebody/absent" in result.output


def test_the_rewriters_key_is_in_the_environment_alone(run: Any) -> None:
    chat = "rewriter: {url: http://10.0.0.7/v1, model: small, api_key_env: REWRITER_KEY}"
    Path("chat.yaml").write_text(chat)
    files = ("serve", "--weights", "weights.yaml", "--weights", "chat.yaml")
    _, (config,) = run(*files, REWRITER_KEY="sesame")
    assert config.rewriter_key == "sesame"
    assert "sesame" not in repr(config)
    result, configs = run(*files)
    assert result.exit_code == 2 and configs == []
    assert result.stderr == (
        "darkroom: the rewriter wants a key, and the environment has no REWRITER_KEY\n"
    )


def test_models_beside_those_that_make_images(run: Any) -> None:
    Path("more.yaml").write_text("{matting: cutter, rewriter: {source: hub:somebody/small}}")
    result, _ = run("models", "--weights", "weights.yaml", "--weights", "more.yaml")
    rows = [line.split("│") for line in result.output.splitlines() if "│" in line]
    cells = {row[1].strip(): [cell.strip() for cell in row[2:-1]] for row in rows}
    assert cells["matting"] == ["no", "", "cutter"]
    assert cells["rewriter"] == ["no", "", "hub:somebody/small"]


@pytest.mark.parametrize("flag", FLAGS)
def test_every_setting_has_a_flag_a_variable_and_a_place_in_the_docs(run: Any, flag: str) -> None:
    result, _ = run("serve", "--help")
    assert re.search(rf"{flag}\b", result.output)
    assert f"DARKROOM_{flag[2:].replace('-', '_').upper()}]" in result.output
    docs = (Path(serve.__file__).parents[2] / "docs").glob("*.md")
    assert any(re.search(rf"{flag}\b", page.read_text()) for page in docs)


def test_version(run: Any) -> None:
    result, _ = run("--version")
    assert result.exit_code == 0
    assert result.output.startswith("darkroom")


def test_the_command_is_light(tmp_path: Path) -> None:
    heavy = {"fastapi", "uvicorn", "numpy", "PIL"}
    code = f"import sys, server.commands.cli; print({heavy} & set(sys.modules))"
    root = str(Path(serve.__file__).parents[2])
    command = [sys.executable, "-c", code]
    answer = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": root}
    )
    assert answer.stdout == "set()\n"
