"""What the commands for weights share: names, what goes by them, and what is said of it.

Knows the registry and the terminal; not what a command does.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from pipelines.definitions import OTHERS
from pipelines.lora_files import FOLDER as LORAS
from pipelines.registry import Registry
from pipelines.weights.manifest import Manifest, WeightsError
from server.commands.options import one_line_errors
from server.commands.tables import amount

OTHER_NAMES = f"what weights files name beside models: {', '.join(OTHERS)}"
_NAMED = f"Ids of models, or {OTHER_NAMES}."
AnyNames = Annotated[list[str] | None, typer.Argument(metavar="NAME", help=_NAMED)]


@contextmanager
def mistakes_told() -> Iterator[None]:
    """Tell a mistake of the operator's, and what the disk refuses, in a line, and exit with 2."""
    with one_line_errors():
        try:
            yield
        except OSError as error:
            raise WeightsError(str(error)) from error


def folders_of(registry: Registry, names: list[str] | None) -> dict[str, Path]:
    """The folders of what was named, or else of all that is installed, without LoRAs. Raises
    WeightsError for what is not installed."""
    defined = [*registry.models, *registry.others]
    for name in names or ():
        require(name, defined)
        if not registry.installed(name):
            raise WeightsError(f"'{name}' is not installed")
    chosen = names or [name for name in defined if registry.installed(name)]
    places = {name: registry.path(name) for name in chosen}
    return {name: place if place.is_dir() else place.parent for name, place in places.items()}


def plain_id(name: str) -> str:
    """The name, if a model can be called so; raises WeightsError."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise WeightsError(f"'{name}' cannot be a model's id: letters, digits, '.', '_', '-'")
    return name


def require(name: str, defined: Collection[str]) -> None:
    """Raise WeightsError unless a name is one of those that are defined."""
    if name not in defined and name in OTHERS:
        raise WeightsError(f"no weights file defines '{name}'")
    if name not in defined:
        raise WeightsError(f"there is no model '{name}'; there are: {', '.join(defined)}")


def require_all(names: Iterable[str], defined: Collection[str]) -> None:
    """The same of each of several."""
    for name in names:
        require(name, defined)


def say_installed(name: str, manifest: Manifest, models_dir: Path) -> None:
    """Tell of what is now in its place; a LoRA's name begins with the folder of all of them."""
    suffix = ".safetensors" if name.startswith(f"{LORAS}/") else ""
    say(f"{name}: {amount(manifest.size)} in {models_dir / name}{suffix}")


def say(text: str) -> None:
    """A line for whoever looks at the terminal, as it is."""
    Console().print(Text(text), soft_wrap=True)
