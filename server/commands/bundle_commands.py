"""The commands that carry weights to a box without a network, and take them in there.

Each calls one function of `pipelines.weights`, and says what became of it.
"""

import re
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from pipelines.lora_files import FOLDER as LORAS
from pipelines.registry import Registry
from pipelines.weights.manifest import WeightsError
from server.commands.bars import bars
from server.commands.naming import AnyNames, folders_of, mistakes_told, say, say_installed
from server.commands.options import DEFAULT_WEIGHTS, DEFAULTS, ModelsDir, Weights, registry_of

app = typer.Typer()


@app.command()
def bundle(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.tar", help="The file to write.")
    ],
    names: AnyNames = None,
    lora: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A LoRA to pack, too; may be given several times."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Write parts of this size, such as 4G.")
    ] = None,
    with_wheels: Annotated[
        str | None,
        typer.Option(metavar="PLATFORM", help="Pack this software, too, such as for linux-x86_64."),
    ] = None,
    sign: Annotated[
        Path | None,
        typer.Option(metavar="KEY", help="A file with a secret key of minisign's, to sign it."),
    ] = None,
    weights: Weights = DEFAULT_WEIGHTS,
    models_dir: ModelsDir = DEFAULTS.models_dir,
) -> None:
    """Write what is installed into one file, to carry it to a box without a network."""
    with mistakes_told(), tempfile.TemporaryDirectory() as scratch:
        from pipelines.weights.bundle import bundle
        from pipelines.weights.signing import signer
        from pipelines.weights.wheels import download_wheels

        registry = registry_of(weights, models_dir)
        chosen = list(folders_of(registry, names)) if names else []
        if with_wheels is not None:
            download_wheels(with_wheels, Path(scratch))
        with bars() as begin:
            written = bundle(
                registry,
                chosen,
                output,
                begin,
                loras=list(dict.fromkeys(lora or ())),
                part_size=_bytes(split) if split else None,
                wheels=Path(scratch) if with_wheels else None,
                sign=signer(sign, _password) if sign else None,
            )
        say("\n".join(str(path) for path in written))


@app.command()
def unbundle(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.tar", help="The bundle, or the first of its parts.")
    ],
    trust: Annotated[
        str | None,
        typer.Option(
            metavar="KEY", help="A public key, or a file with it: refuse what it has not signed."
        ),
    ] = None,
    wheels: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where to put the software in it, as wheels."),
    ] = None,
    weights: Weights = DEFAULT_WEIGHTS,
    models_dir: ModelsDir = DEFAULTS.models_dir,
) -> None:
    """Install what is in a bundle: all of it is verified, or nothing is installed."""
    with mistakes_told():
        from pipelines.weights.unbundle import unbundle

        registry = registry_of(weights, models_dir)
        with bars() as begin:
            installed = unbundle(
                file, models_dir, begin, registry=registry, trust=trust, wheels=wheels
            )
        registry = registry_of(weights, models_dir)
        for name, manifest in installed.items():
            say_installed(name, manifest, models_dir)
            _say_unused(registry, name, models_dir)


def _password() -> str:
    return str(typer.prompt("Password of the secret key", hide_input=True, err=True))


def _bytes(size: str) -> int:
    match = re.fullmatch(r"([1-9]\d*)([KMGT]?)B?", size.strip().upper())
    if match is None:
        raise WeightsError(f"--split: '{size}' is not a size such as 4G or 700M")
    return int(match[1]) * int(1000 ** " KMGT".index(match[2] or " "))


def _say_unused(registry: Registry, name: str, models_dir: Path) -> None:
    """Tell of what was installed, and is not what the weights files here mean by its name."""
    if name in registry.models or name in registry.others:
        if (models_dir / name).resolve() not in (it := registry.path(name).resolve(), it.parent):
            say(f"{name}: is not used: its source is {registry.source(name)}")
    elif not name.startswith(f"{LORAS}/"):
        say(f"{name}: is not used: the weights files leave no place for it")
