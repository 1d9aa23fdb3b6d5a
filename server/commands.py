"""The commands that bring weights in, check them, and carry them to a box without a network.

Each calls one function of `pipelines.weights`, and says what became of it.
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from pipelines.registry import ENTRY, MATTING, Registry
from pipelines.weights.manifest import Manifest, WeightsError, read_manifest
from server.bars import bars
from server.options import (
    DEFAULT_MODELS_DIR,
    DEFAULT_WEIGHTS,
    ModelsDir,
    Weights,
    one_line_errors,
)

app = typer.Typer()
AnyNames = Annotated[list[str] | None, typer.Argument(metavar="[NAME...]", help="All, if none.")]
Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Ids of models.")]


@app.command()
def pull(
    names: Names,
    revision: Annotated[
        str | None, typer.Option(help="A branch, tag or commit, not the newest one.")
    ] = None,
    variant: Annotated[
        str | None, typer.Option(help="Such as fp16: half the size, where a repository has it.")
    ] = None,
    weights: Weights = DEFAULT_WEIGHTS,
    models_dir: ModelsDir = DEFAULT_MODELS_DIR,
) -> None:
    """Fetch models from the hub: only what is needed, going on where an earlier run ended."""
    with _mistakes_told():
        from pipelines.weights.pull import pull

        registry = Registry(weights, models_dir)
        repositories = {name: _repository(registry, name) for name in names}
        with bars() as begin:
            for name, repository in repositories.items():
                manifest = pull(
                    models_dir,
                    name,
                    repository,
                    begin,
                    revision=revision,
                    variant=variant,
                    is_pipeline=name in registry.models,
                )
                _say_installed(name, manifest, models_dir)


@app.command("import")
def import_(
    path: Annotated[Path, typer.Argument(help="A diffusers folder, a .safetensors or a .gguf.")],
    name: Annotated[str, typer.Option("--as", metavar="NAME", help="The model's id.")],
    like: Annotated[
        str | None, typer.Option(metavar="ID", help="The model whose entry it takes over.")
    ] = None,
    link: Annotated[
        bool, typer.Option(help="Hard-link the files instead of copying them.")
    ] = False,
    weights: Weights = DEFAULT_WEIGHTS,
    models_dir: ModelsDir = DEFAULT_MODELS_DIR,
) -> None:
    """Take in a model that is already on this machine."""
    with _mistakes_told():
        from pipelines.weights.importing import take_in

        _require_entry(Registry(weights, models_dir), path, name, like, models_dir)
        with bars() as begin:
            manifest = take_in(path, models_dir, name, begin, like=like, link=link)
        _say_installed(name, manifest, models_dir)


@app.command()
def verify(
    names: AnyNames = None,
    weights: Weights = DEFAULT_WEIGHTS,
    models_dir: ModelsDir = DEFAULT_MODELS_DIR,
) -> None:
    """Compare installed models with their manifests; exit code 1 if any differs."""
    with _mistakes_told():
        from pipelines.weights.verify import verify

        registry = Registry(weights, models_dir)
        folders = _folders(registry, names)
        with bars() as begin:
            reports = {
                name: verify(folder, begin(name, manifest.size))
                for name, folder in folders.items()
                if (manifest := read_manifest(folder))
            }
        for name, report in reports.items():
            _say(f"{name}: {'intact' if report.intact else report}")
        for name in folders.keys() - reports.keys():
            _say(f"{name}: has no manifest to verify it by")
        unverified = bool(names) and len(reports) < len(folders)
        raise typer.Exit(unverified or any(not report.intact for report in reports.values()))


@app.command()
def rm(names: Names, models_dir: ModelsDir = DEFAULT_MODELS_DIR) -> None:
    """Delete installed models from the models folder."""
    with _mistakes_told():
        from pipelines.weights.staging import remove

        for name in names:
            _say(f"{name}: {remove(models_dir, _plain_id(name)) / 1e9:.2f} GB freed")


@app.command()
def bundle(
    names: Names,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.tar")],
    split: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Write parts of this size, such as 4G.")
    ] = None,
    with_wheels: Annotated[
        str | None,
        typer.Option(metavar="PLATFORM", help="This software as well, such as for linux-x86_64."),
    ] = None,
    sign: Annotated[
        Path | None, typer.Option(metavar="KEY", help="Sign with a secret key of minisign's.")
    ] = None,
    weights: Weights = DEFAULT_WEIGHTS,
    models_dir: ModelsDir = DEFAULT_MODELS_DIR,
) -> None:
    """Write models into one file, to carry them to a box without a network."""
    with _mistakes_told(), tempfile.TemporaryDirectory() as scratch:
        from pipelines.weights.bundle import bundle
        from pipelines.weights.signing import signer
        from pipelines.weights.wheels import download_wheels

        registry = Registry(weights, models_dir)
        _folders(registry, names)
        if with_wheels is not None:
            download_wheels(with_wheels, Path(scratch))
        with bars() as begin:
            written = bundle(
                registry,
                names,
                output,
                begin,
                part_size=_bytes(split) if split else None,
                wheels=Path(scratch) if with_wheels else None,
                sign=signer(sign, _password) if sign else None,
            )
        _say("\n".join(str(path) for path in written))


@app.command()
def unbundle(
    file: Annotated[Path, typer.Argument(metavar="FILE.tar", help="Or the first of its parts.")],
    trust: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Refuse what this public key has not signed."),
    ] = None,
    wheels: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where to put the wheels, if any.")
    ] = None,
    weights: Weights = DEFAULT_WEIGHTS,
    models_dir: ModelsDir = DEFAULT_MODELS_DIR,
) -> None:
    """Install the models of a bundle: all of it is verified, or nothing is installed."""
    with _mistakes_told():
        from pipelines.weights.unbundle import unbundle

        defined = Registry(weights, models_dir).models
        with bars() as begin:
            installed = unbundle(
                file, models_dir, begin, defined=defined, trust=trust, wheels=wheels
            )
        for name, manifest in installed.items():
            _say_installed(name, manifest, models_dir)


def _password() -> str:
    return str(typer.prompt("Password of the secret key", hide_input=True, err=True))


def _bytes(size: str) -> int:
    match = re.fullmatch(r"([1-9]\d*)([KMGT]?)B?", size.strip().upper())
    if match is None:
        raise WeightsError(f"--split: '{size}' is not a size such as 4G or 700M")
    return int(match[1]) * int(1000 ** " KMGT".index(match[2] or " "))


@contextmanager
def _mistakes_told() -> Iterator[None]:
    with one_line_errors():
        try:
            yield
        except OSError as error:
            raise WeightsError(str(error)) from error


def _require_entry(
    registry: Registry, path: Path, name: str, like: str | None, models_dir: Path
) -> None:
    """Raise WeightsError unless the model will be served once it is in its folder."""
    _plain_id(name)
    own = models_dir / name / ENTRY
    file = registry.files.get(name)
    if file is None or file == own:
        if like is None:
            raise WeightsError(f"no entry defines '{name}': name a model that it is --like")
        _known(registry, like)
    elif like is not None:
        raise WeightsError(f"{file} has an entry for '{name}' already: --like would not count")
    elif registry.path(name) != models_dir / name or path.is_file():
        raise WeightsError(f"{file}: the source of '{name}' is {registry.models[name].source}")


def _folders(registry: Registry, names: list[str] | None) -> dict[str, Path]:
    """The folders of the models that were named, or else of all installed ones."""
    for name in names or ():
        _known(registry, name)
        if not registry.installed(name):
            raise WeightsError(f"'{name}' is not installed")
    chosen = names or [name for name in registry.models if registry.installed(name)]
    places = {name: registry.path(name) for name in chosen}
    return {name: place if place.is_dir() else place.parent for name, place in places.items()}


def _plain_id(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise WeightsError(f"'{name}' cannot be a model's id: letters, digits, '.', '_', '-'")
    return name


def _repository(registry: Registry, name: str) -> str:
    is_matting = name == MATTING and name not in registry.models
    source = (registry.matting_source if is_matting else None) or _known(registry, name)
    if not source.startswith("hub:"):
        raise WeightsError(f"{name} is not from the hub: its source is {source}")
    return source.removeprefix("hub:")


def _known(registry: Registry, name: str) -> str:
    if name not in registry.models:
        raise WeightsError(f"there is no model '{name}'; there are: {', '.join(registry.models)}")
    return registry.models[name].source


def _say_installed(name: str, manifest: Manifest, models_dir: Path) -> None:
    _say(f"{name}: {manifest.size / 1e9:.2f} GB in {models_dir / name}")


def _say(text: str) -> None:
    Console().print(Text(text), soft_wrap=True)
