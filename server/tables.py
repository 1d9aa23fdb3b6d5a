"""The registry as tables for the terminal. Draws, and decides nothing."""

from rich.table import Table

from pipelines.registry import Registry
from pipelines.weights.staging import size_of
from pipelines.weights.verify import state_of


def models_table(registry: Registry) -> Table:
    """Every model that is defined: where it comes from, and whether it is here, and as it was."""
    headings = ("model", "installed", "files", "source", "dtype")
    table = Table(*headings, title="Models", title_justify="left")
    for id, spec in registry.models.items():
        place = registry.path(id)
        is_here = registry.installed(id)
        installed = f"[green]{_amount(size_of(place))}[/]" if is_here else "[dim]no[/]"
        table.add_row(id, installed, state_of(place) if is_here else "", spec.source, spec.dtype)
    return table


def names_table(registry: Registry) -> Table:
    """Every API name: what serves it now, and what would if it were installed."""
    headings = ("API name", "served by", "better, if it were installed")
    table = Table(*headings, title="Names", title_justify="left")
    for name in registry.names:
        model = registry.resolve(name)
        preferences = registry.preferences(name)
        better = preferences[: preferences.index(model)] if model else preferences
        table.add_row(name, model or "[red]nothing installed[/]", ", ".join(better))
    return table


def _amount(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
