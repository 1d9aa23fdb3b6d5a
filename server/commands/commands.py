"""The commands that bring weights in, check them, and delete them.

Each calls one function of `pipelines.weights`, and says what became of it.
"""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.lora_files import FOLDER as LORAS
from pipelines.lora_files import LoraFiles
from pipelines.registry import ENTRY, RESERVED, Registry
from pipelines.weights.manifest import WeightsError, read_manifest
from pipelines.weights.verify import Report
from server.commands.bars import bars
from server.commands.naming import (
    OTHER_NAMES,
    AnyNames,
    folders_of,
    mistakes_told,
    plain_id,
    require,
    require_all,
    say,
    say_installed,
)
from server.commands.options import DEFAULT_WEIGHTS, DEFAULTS, ModelsDir, Weights, registry_of
from server.commands.tables import amount

app = typer.Typer()


@app.command()
def pull(
    names: AnyNames = None,
    lora: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=OWNER/REPOSITORY[/FILE]",
            help="A LoRA to fetch, by the name that it shall have; may be given several times.",
        ),
    ] = None,
    base: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="A model that these LoRAs are for.")
    ] = None,
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
        from pipelines.weights.lora_pull import lora_source, pull_lora
        from pipelines.weights.pull import pull

        _require_use(names, lora, base, variant)
        registry = registry_of(weights, models_dir)
        repositories = {name: _repository(registry, name) for name in names or ()}
        sources = [lora_source(it) for it in lora or ()]
        require_all(base or (), registry.models)
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
            for it in sources:
                folder = registry.loras.folder
                manifest = pull_lora(it, folder, begin, revision=revision, bases=base or ())
                say_installed(f"{LORAS}/{it.name}", manifest, models_dir)


def _require_use(
    names: list[str] | None, loras: list[str] | None, bases: list[str] | None, variant: str | None
) -> None:
    """Raise WeightsError for what a pull would leave unused."""
    if not (names or loras):
        raise WeightsError("name what is to be fetched: a model, or a LoRA with --lora")
    if bases and not loras:
        raise WeightsError("--base is for LoRAs, with --lora")
    if variant and not names:
        raise WeightsError("--variant is for models, not for LoRAs")


@app.command("import")
def import_(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A folder, a .safetensors or a .gguf.")
    ],
    name: Annotated[
        str,
        typer.Option(
            "--as", metavar="NAME", help=f"The model's id, the LoRA's name, or {OTHER_NAMES}."
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

        registry = registry_of(weights, models_dir)
        if lora:
            return _import_lora(registry, path, name, like, base or [], link)
        if base:
            raise WeightsError("--base is for a LoRA, with --lora")
        _require_entry(registry, path, name, like, models_dir)
        if like is not None and path.is_file():
            _require_usable(registry, path, like)
        pipe = name not in registry.others
        with bars() as begin:
            manifest = take_in(
                path, models_dir, name, begin, like=like, link=link, is_pipeline=pipe
            )
        say_installed(name, manifest, models_dir)


def _require_usable(registry: Registry, file: Path, like: str) -> None:
    """Raise WeightsError unless a model like another uses all that is in a file."""
    from pipelines.models.audit_process import require_usable

    place, config = registry.path(like), registry.models[like].config
    folder = Path(config) if config else place
    if not require_usable(file, folder):
        say(f"'{like}' is not installed: the tensors of {file.name} are compared when it is loaded")


def _import_lora(
    registry: Registry, path: Path, name: str, like: str | None, bases: list[str], link: bool
) -> None:
    from pipelines.weights.lora_manifests import take_in_lora

    if like is not None:
        raise WeightsError("--like is for a model: a LoRA may have a --base")
    require_all(bases, registry.models)
    folder = registry.loras.folder
    with bars() as begin:
        manifest = take_in_lora(path, folder, name, begin, bases=bases, link=link)
    say_installed(f"{LORAS}/{name}", manifest, folder.parent)


@app.command()
def verify(
    names: AnyNames = None,
    lora: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A LoRA to verify; may be given several times."),
    ] = None,
    weights: Weights = DEFAULT_WEIGHTS,
    models_dir: ModelsDir = DEFAULTS.models_dir,
) -> None:
    """Compare what is installed with its manifests; exit code 1 if any differs.

    Without a name: all of it, LoRAs as well.
    """
    with mistakes_told():
        from pipelines.weights.lora_manifests import known_loras, require_known_lora, verify_lora
        from pipelines.weights.verify import verify

        registry = registry_of(weights, models_dir)
        named = bool(names or lora)
        folders = folders_of(registry, names) if names or not named else {}
        loras = lora or ([] if named else known_loras(registry.loras))
        for name in loras:
            require_known_lora(registry.loras, name)
        reports: dict[str, Report | None] = {}
        with bars() as begin:
            for name, folder in folders.items():
                manifest = read_manifest(folder)
                reports[name] = verify(folder, begin(name, manifest.size)) if manifest else None
            for name in loras:
                reports[f"{LORAS}/{name}"] = verify_lora(registry.loras, name, begin)
        for name, report in reports.items():
            say(f"{name}: {_verified(report)}")
        raise typer.Exit(any(named if it is None else not it.intact for it in reports.values()))


def _verified(report: Report | None) -> str:
    if report is None:
        return "has no manifest to verify it by"
    return "intact" if report.intact else str(report)


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
        from pipelines.weights.lora_manifests import remove_lora, require_removable_lora
        from pipelines.weights.staging import remove, require_removable, settle

        loras = LoraFiles(models_dir / LORAS)
        if not (names or lora):
            raise WeightsError("name what is to be deleted: a model, or a LoRA with --lora")
        settle(models_dir)
        for name in names or ():
            if name == LORAS:
                raise WeightsError(f"'{name}' is the folder of all LoRAs: name each with --lora")
            require_removable(models_dir, plain_id(name))
        for name in lora or ():
            require_removable_lora(loras, name)
        for name in dict.fromkeys(names or ()):
            say(f"{name}: {amount(remove(models_dir, name))} freed")
        for name in dict.fromkeys(lora or ()):
            say(f"{LORAS}/{name}: {amount(remove_lora(loras, name))} freed")


def _require_entry(
    registry: Registry, path: Path, name: str, like: str | None, models_dir: Path
) -> None:
    """Raise WeightsError unless the model will be served once it is in its folder."""
    if plain_id(name) in RESERVED:
        return _require_place(registry, path, name, like, models_dir)
    own = models_dir / name / ENTRY
    file = registry.files.get(name)
    if file is None or file == own:
        if like is None:
            raise WeightsError(f"no entry defines '{name}': name a model that it is --like")
        require(like, registry.models)
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
    require(name, registry.others)
    if like is not None:
        raise WeightsError(f"'{name}' is like no model")
    if registry.path(name) != models_dir / name or path.is_file():
        raise WeightsError(f"the source of '{name}' is {registry.source(name)}")


def _repository(registry: Registry, name: str) -> str:
    require(name, [*registry.models, *registry.others])
    source = registry.source(name)
    if not source.startswith("hub:"):
        raise WeightsError(f"{name} is not from the hub: its source is {source}")
    return source.removeprefix("hub:")
