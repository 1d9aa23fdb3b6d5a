"""`darkroom plan`: what will be done with each installed model on cards of several sizes, and why.

Reads the headers of weights, and no weight.
"""

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.footprints import components_of
from pipelines.plans import WAYS, plan
from pipelines.registry import Registry
from server.config import Config
from server.options import (
    DEFAULT_MEMORY,
    DEFAULT_MODELS_DIR,
    DEFAULT_WEIGHTS,
    Memory,
    ModelsDir,
    Weights,
    one_line_errors,
)

CARDS_GB = (8, 12, 16, 24, 32, 48, 80, 141)
_UNREADABLE = (OSError, ValueError, KeyError)

app = typer.Typer()


@app.command("plan")
def show_plan(
    memory: Memory = DEFAULT_MEMORY,
    weights: Weights = DEFAULT_WEIGHTS,
    models_dir: ModelsDir = DEFAULT_MODELS_DIR,
) -> None:
    """Show what each installed model takes, and how it is kept on cards of several sizes."""
    with one_line_errors():
        config = Config(weights=tuple(weights), models_dir=models_dir, memory=memory)
        registry = Registry(config.weights, config.models_dir)
    console = Console()
    console.print(cards_table(registry, memory))
    for way, why in WAYS.items():
        console.print(Text.assemble((f"{way:6}", "bold"), why), soft_wrap=True)
    console.print(Text("no    even so it does not fit; its jobs are answered 503", style="dim"))


def cards_table(registry: Registry, memory: float) -> Table:
    """A row for each installed model, a column for each size of card."""
    cards = [str(size) for size in CARDS_GB]
    title = f"Installed models on cards of so many GB, of which they may take {memory:.0%}"
    table = Table("model", "offload", "weights", *cards, title=title, title_justify="left")
    for id in filter(registry.installed, registry.models):
        table.add_row(id, registry.models[id].offload, *_cells(registry, id, memory))
    return table


def _cells(registry: Registry, model: str, memory: float) -> list[str]:
    """The size of a model's weights, and its way on each card."""
    spec = registry.models[model]
    try:
        components = components_of(spec, registry.path(model))
    except _UNREADABLE as error:
        return [f"cannot be read: {error}"]
    whole = plan("none", components, 0).size / 1e9
    plans = [plan(spec.offload, components, memory * size * 2**30) for size in CARDS_GB]
    return [f"{whole:.3g} GB", *(each.way if each.fits else "no" for each in plans)]
