"""The commands that bring weights in, check them, and delete them.

Each calls one function of `pipelines.weights`, and says what became of it.
"""

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from pipelines.definitions import OTHERS
from pipelines.lora_files import FOLDER as LORAS
from pipelines.lora_files import LoraFiles
from pipelines.registry import ENTRY, RESERVED, Registry
from pipelines.weights.manifest import Manifest, WeightsError, read_manifest
from server.commands.bars import bars
from server.commands.options import (
    DEFAULT_WEIGHTS,
    DEFAULTS,
    ModelsDir,
    Weights,
    one_line_errors,
)
from server.commands.tables import amount

app = typer.Typer()
_OTHERS = f"what weights files name beside models: {', '.join(OTHERS)}"
_NAMED = f"Ids of models, or {_OTHERS}."
Names = Annotated[list[str], typer.Argument(metavar="NAME", help=_NAMED)]
AnyNames = Annotated[list[str] | None, typer.Argument(metavar="NAME", help=_NAMED)]


@app.command()
def pull(
    names: Names,
    revision: Annotated[
        str | None, typer.Option(help="A branch, tag or commit, instead of the newest one.")
    ] = None,
    variant: Annotated[
        str | None, typer.Option(help="Such as fp16: half the size, where a repository has it.")
    ] = None,
    weights: Weights = DEFAULT_WEIGHTS,
    models_dir: ModelsDir = DEFAULTS.models_dir,
) -> None:
    """Fetch weights from the hub: only what is needed, going on where an earlier run ended."""
    with mistakes_told():
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
                say_installed(name, manifest, models_dir)


@app.command("import")
def import_(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A folder, a .safetensors or a .gguf.")
    ],
    name: Annotated[
        str,
        typer.Option(
            "--as", metavar="NAME", help=f"The model's id, the LoRA's name, or {_OTHERS}."
        ),
    ],
    like: Annotated[
        str | None,
        typer.Option(metavar="ID", help="The model whose entry in weights.yaml it takes over."),
    ] = None,
    lora: Annotated[bool, typer.Option("--lora", help="It is a LoRA, not a model.")] = False,
    base: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="A model that a LoRA was made for.")
    ] = None,
    link: Annotated[
        bool, typer.Option(help="Hard-link the files instead of copying them.")
    ] = False,
    weights: Weights = DEFAULT_WEIGHTS,
    models_dir: ModelsDir = DEFAULTS.models_dir,
) -> None:
    """Take in a model, or a LoRA, that is already on this machine."""
    with mistakes_told():
        from pipelines.weights.importing import take_in

        registry = Registry(weights, models_dir)
        if lora:
            return _import_lora(registry, path, name, like, base or [], link)
        if base:
            raise WeightsError("--base is for a LoRA, with --lora")
        _require_entry(registry, path, name, like, models_dir)
        pipe = name not in registry.others
        with bars() as begin:
            manifest = take_in(
                path, models_dir, name, begin, like=like, link=link, is_pipeline=pipe
            )
        say_installed(name, manifest, models_dir)


def _import_lora(
    registry: Registry, path: Path, name: str, like: str | None, bases: list[str], link: bool
) -> None:
    from pipelines.weights.lora_manifests import take_in_lora

    if like is not None:
        raise WeightsError("--like is for a model: a LoRA may have a --base")
    for id in bases:
        _require(id, registry.models)
    folder = registry.loras.folder
    with bars() as begin:
        manifest = take_in_lora(path, folder, name, begin, bases=bases, link=link)
    say_installed(name, manifest, folder)


@app.command()
def verify(
    names: AnyNames = None,
    weights: Weights = DEFAULT_WEIGHTS,
    models_dir: ModelsDir = DEFAULTS.models_dir,
) -> None:
    """Compare what is installed with its manifests; exit code 1 if any differs.

    Without a name: all of it, LoRAs as well.
    """
    with mistakes_told():
        from pipelines.weights.lora_manifests import changed_loras
        from pipelines.weights.verify import verify

        registry = Registry(weights, models_dir)
        folders = folders_of(registry, names)
        with bars() as begin:
            reports = {
                name: verify(folder, begin(name, manifest.size))
                for name, folder in folders.items()
                if (manifest := read_manifest(folder))
            }
            loras = {} if names else changed_loras(registry.loras, begin)
        for name, report in reports.items():
            say(f"{name}: {'intact' if report.intact else report}")
        for name in folders.keys() - reports.keys():
            say(f"{name}: has no manifest to verify it by")
        for name, changed in loras.items():
            say(f"loras/{name}: {'changed' if changed else 'intact'}")
        unverified = bool(names) and len(reports) < len(folders)
        broken = any(not report.intact for report in reports.values()) or any(loras.values())
        raise typer.Exit(unverified or broken)


@app.command()
def rm(
    names: AnyNames = None,
    lora: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A LoRA to delete; may be given several times."),
    ] = None,
    models_dir: ModelsDir = DEFAULTS.models_dir,
) -> None:
    """Delete what is installed from the models folder."""
    with mistakes_told():
        from pipelines.weights.lora_manifests import remove_lora, require_lora
        from pipelines.weights.staging import remove, require_removable

        loras = LoraFiles(models_dir / LORAS)
        if not (names or lora):
            raise WeightsError("name what is to be deleted: a model, or a LoRA with --lora")
        for name in names or ():
            if name == LORAS:
                raise WeightsError(f"'{name}' is the folder of all LoRAs: name each with --lora")
            require_removable(models_dir, _plain_id(name))
        for name in lora or ():
            require_lora(loras, name)
        for name in dict.fromkeys(names or ()):
            say(f"{name}: {amount(remove(models_dir, name))} freed")
        for name in dict.fromkeys(lora or ()):
            say(f"{LORAS}/{name}: {amount(remove_lora(loras, name))} freed")


@contextmanager
def mistakes_told() -> Iterator[None]:
    """Tell a mistake of the operator's, and what the disk refuses, in a line, and exit with 2."""
    with one_line_errors():
        try:
            yield
        except OSError as error:
            raise WeightsError(str(error)) from error


def _require_entry(
    registry: Registry, path: Path, name: str, like: str | None, models_dir: Path
) -> None:
    """Raise WeightsError unless the model will be served once it is in its folder."""
    if _plain_id(name) in RESERVED:
        return _require_place(registry, path, name, like, models_dir)
    own = models_dir / name / ENTRY
    file = registry.files.get(name)
    if file is None or file == own:
        if like is None:
            raise WeightsError(f"no entry defines '{name}': name a model that it is --like")
        _require(like, registry.models)
    elif like is not None:
        raise WeightsError(f"{file} has an entry for '{name}' already: --like would not count")
    elif registry.path(name) != models_dir / name or path.is_file():
        raise WeightsError(f"{file}: the source of '{name}' is {registry.models[name].source}")


def _require_place(
    registry: Registry, path: Path, name: str, like: str | None, models_dir: Path
) -> None:
    """The same of what is no model."""
    if name == LORAS:
        raise WeightsError(f"'{name}' is the folder of all LoRAs: a LoRA is taken in with --lora")
    _require(name, registry.others)
    if like is not None:
        raise WeightsError(f"'{name}' is like no model")
    if registry.path(name) != models_dir / name or path.is_file():
        raise WeightsError(f"the source of '{name}' is {registry.source(name)}")


def folders_of(registry: Registry, names: list[str] | None) -> dict[str, Path]:
    """The folders of what was named, or else of all that is installed, without LoRAs. Raises
    WeightsError for what is not installed."""
    defined = [*registry.models, *registry.others]
    for name in names or ():
        _require(name, defined)
        if not registry.installed(name):
            raise WeightsError(f"'{name}' is not installed")
    chosen = names or [name for name in defined if registry.installed(name)]
    places = {name: registry.path(name) for name in chosen}
    return {name: place if place.is_dir() else place.parent for name, place in places.items()}


def _plain_id(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise WeightsError(f"'{name}' cannot be a model's id: letters, digits, '.', '_', '-'")
    return name


def _repository(registry: Registry, name: str) -> str:
    _require(name, [*registry.models, *registry.others])
    source = registry.source(name)
    if not source.startswith("hub:"):
        raise WeightsError(f"{name} is not from the hub: its source is {source}")
    return source.removeprefix("hub:")


def _require(name: str, defined: Collection[str]) -> None:
    if name not in defined and name in OTHERS:
        raise WeightsError(f"no weights file defines '{name}'")
    if name not in defined:
        raise WeightsError(f"there is no model '{name}'; there are: {', '.join(defined)}")


def say_installed(name: str, manifest: Manifest, models_dir: Path) -> None:
    """Tell of what is now in its place."""
    say(f"{name}: {amount(manifest.size)} in {models_dir / name}")


def say(text: str) -> None:
    """A line for whoever looks at the terminal, as it is."""
    Console().print(Text(text), soft_wrap=True)
