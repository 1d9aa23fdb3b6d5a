"""`darkroom plan`: what will be done with each installed model on cards of several sizes, and why.

Reads the headers of weights, and no weight.
"""

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pipelines.models.footprints import components_of, size_of_one
from pipelines.models.plans import AUTO, WAYS, plan
from pipelines.models.quantizations import QUANTIZATIONS, able, unable
from pipelines.registry import Registry
from pipelines.wording import LocalRewriter
from server.commands.options import (
    DEFAULT_WEIGHTS,
    DEFAULTS,
    Memory,
    ModelsDir,
    Weights,
    one_line_errors,
    registry_of,
)
from server.config import Config

CARDS_GB = (8, 12, 16, 24, 32, 48, 80, 141)
_UNREADABLE = (OSError, ValueError, KeyError)

app = typer.Typer()


@app.command("plan")
def show_plan(
    memory: Memory = DEFAULTS.memory,
    weights: Weights = DEFAULT_WEIGHTS,
    models_dir: ModelsDir = DEFAULTS.models_dir,
) -> None:
    """Show how much memory each installed model takes, and how it is kept on cards of several
    sizes."""
    with one_line_errors():
        config = Config(weights=tuple(weights), models_dir=models_dir, memory=memory)
        registry = registry_of(config.weights, config.models_dir)
    console = Console()
    console.print(cards_table(registry, memory))
    for way, why in [*WAYS.items(), *((it, how.means) for it, how in QUANTIZATIONS.items())]:
        console.print(Text.assemble((f"{way:7} ", "bold"), why), soft_wrap=True)
    console.print(Text("no      even so it does not fit; its jobs are answered 503", style="dim"))
    for line in [*elsewhere(registry), *missing(registry)]:
        console.print(Text(line, style="yellow"), soft_wrap=True)


def elsewhere(registry: Registry) -> list[str]:
    """What is taken of one card alone, a line each."""
    rewriter = registry.rewriter
    if (
        not isinstance(rewriter, LocalRewriter)
        or not rewriter.installed
        or rewriter.device == "cpu"
    ):
        return []
    taken = size_of_one(rewriter.folder, "bfloat16")
    return [f"rewriter: takes {taken / 1e9:.2g} GB, and 1 GiB, of the one card that it is on"]


def missing(registry: Registry) -> list[str]:
    """What installed models ask for and is not installed, a line each, and what would help."""
    found = []
    for id in filter(registry.installed, registry.models):
        asked = registry.models[id].quantization
        kinds = sorted(AUTO - {"none"}) if asked == "auto" else [asked]
        found += [f"{id}: {reason}" for reason in map(unable, kinds) if reason]
    return found


def cards_table(registry: Registry, memory: float) -> Table:
    """A row for each installed model: how its entry has it kept, and what that means on cards."""
    title = f"Installed models, which may take {memory:.0%} of a card"
    if aside := _aside(registry):
        title += f", less {aside / 1e9:.2g} GB for what looks at images"
    columns = ("model", "weights", "offload", "quantization", "on cards")
    table = Table(*columns, title=title, title_justify="left", show_lines=True)
    for id in filter(registry.installed, registry.models):
        spec = registry.models[id]
        whole, ways = _kept(registry, id, memory, aside)
        table.add_row(id, whole, spec.offload, spec.quantization, ways)
    return table


def _aside(registry: Registry) -> int:
    """Bytes of each device that its models leave to their companions."""
    images = registry.policy.images
    folders = [registry.matting, images.folder if images else None]
    return sum(size_of_one(folder, "float32") for folder in folders if folder)


def _kept(registry: Registry, model: str, memory: float, aside: int) -> tuple[str, str]:
    """The size of a model's weights, and its way on cards."""
    spec, prior = registry.models[model], registry.specialist(model, "variation")
    try:
        components = components_of(spec, registry.path(model))
        if prior != model:  # what reads pictures for it is beside it in memory
            aside += sum(it.size for it in components_of(spec, registry.path(prior)).values())
    except _UNREADABLE as error:
        return "", escape(f"cannot be read: {error}")
    whole = plan("none", components, 0).size / 1e9
    budgets = [memory * size * 2**30 - aside for size in CARDS_GB]
    plans = [plan(spec.offload, components, it, spec.quantization, able()) for it in budgets]
    return f"{whole:.3g} GB", in_lines([each.way if each.fits else "no" for each in plans])


def in_lines(ways: Sequence[str]) -> str:
    """A line for each way, with the cards on which it is taken; `ways` is in their order."""
    lines = []
    for way, its in groupby(zip(CARDS_GB, ways, strict=True), key=itemgetter(1)):
        sizes = [size for size, _ in its]
        on = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
        lines.append(f"{on} GB: {way}")
    return "\n".join(lines)
