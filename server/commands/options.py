"""What the commands share: settings, the registry, and how a mistake is told.

Knows flags and their names in the environment; not what they are for.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from pipelines.registry import Registry, RegistryError
from pipelines.weights.manifest import WeightsError
from pipelines.weights.staging import settle
from server.config import Config, ConfigError

MODELS = "Which models"
SERVING = "What may be asked for"
ACCESS = "Where, and to whom"
LIMITS = "With what"
DEFAULTS = Config()
DEFAULT_WEIGHTS = list(DEFAULTS.weights)


def flag(name: str, panel: str | None, help: str, metavar: str | None = None) -> Any:
    """A setting that can also be given in the environment."""
    return typer.Option(
        f"--{name}",
        envvar=f"DARKROOM_{name.replace('-', '_').upper()}",
        help=help,
        metavar=metavar,
        rich_help_panel=panel,
    )


Weights = Annotated[
    list[Path],
    flag(
        "weights",
        MODELS,
        "Says which models there are and which names they serve; given again: what adds to it.",
        "FILE",
    ),
]
ModelsDir = Annotated[
    Path,
    flag("models-dir", MODELS, "Where weights are installed: a folder each, and loras/.", "FOLDER"),
]
Memory = Annotated[
    float,
    flag("memory", LIMITS, "The share of a device's memory that models may take.", "SHARE"),
]
DataDir = Annotated[
    Path,
    flag(
        "data-dir", LIMITS, "Where the server keeps results, keys and its ledger of use.", "FOLDER"
    ),
]


def registry_of(weights: Sequence[Path], models_dir: Path) -> Registry:
    """What is defined and installed, once what a killed command left behind is cleared up; raises
    RegistryError."""
    settle(models_dir)
    return Registry(weights, models_dir)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Tell a mistake of the operator's in a line, and exit with 2."""
    try:
        yield
    except (ConfigError, RegistryError, WeightsError) as error:
        message = Text.assemble(("darkroom: ", "red"), str(error))
        Console(stderr=True).print(message, soft_wrap=True)
        raise typer.Exit(2) from None
