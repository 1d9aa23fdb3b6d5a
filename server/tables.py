"""The registry as tables for the terminal. Draws, and decides nothing."""

from rich.table import Table

from pipelines.registry import Registry


def models_table(registry: Registry) -> Table:
    """Every model that is defined: where it comes from, and whether it is here."""
    table = Table("model", "installed", "source", "dtype", title="Models", title_justify="left")
    for id, spec in registry.models.items():
        installed = "[green]yes[/]" if registry.installed(id) else "[dim]no[/]"
        table.add_row(id, installed, spec.source, spec.dtype)
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
