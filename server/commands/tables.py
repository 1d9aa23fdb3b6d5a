"""The registry as tables for the terminal. Draws, and decides nothing."""

from pathlib import Path

from rich.table import Table
from rich.text import Text

from pipelines.others import HUB
from pipelines.registry import Registry
from pipelines.weights.lora_manifests import manifest_of, require_lora
from pipelines.weights.staging import size_of
from pipelines.weights.verify import state_of


def models_table(registry: Registry) -> Table:
    """All that is defined: where it comes from, and whether it is here, and as it was."""
    table = Table("model", "installed", "files", title="Models", title_justify="left")
    table.add_column("source", overflow="fold")
    for id, spec in registry.models.items():
        table.add_row(id, *_installed(registry.path(id), spec.source, registry.installed(id)))
    for name, other in registry.others.items():
        table.add_row(name, *_installed(other.folder, other.source, other.installed))
    return table


def _installed(place: Path, source: str, is_here: bool) -> tuple[str, str, Text]:
    """How large it is here, in what state, and where it comes from."""
    if not source.startswith(HUB):
        source = str(place.relative_to(Path.cwd()) if place.is_relative_to(Path.cwd()) else place)
    if not is_here:
        return "[dim]no[/]", "", Text(source)
    return f"[green]{amount(size_of(place))}[/]", state_of(place), Text(source)


def loras_table(registry: Registry) -> Table:
    """Every LoRA that is here, and the models that it says it was made for."""
    table = Table("LoRA", "size", "files", "made for", title="LoRAs", title_justify="left")
    for name in registry.loras.names:
        file = require_lora(registry.loras, name)
        state = "has a manifest" if manifest_of(file) else "no manifest"
        made_for = ", ".join(sorted(registry.loras.bases(name) or ()))
        table.add_row(Text(name), amount(size_of(file)), state, made_for)
    return table


def skipped_table(registry: Registry) -> Table:
    """Every file among the LoRAs that is none, and why."""
    table = Table("file", "why", title="Skipped in the folder of LoRAs", title_justify="left")
    for path, reason in registry.loras.skipped.items():
        table.add_row(Text(path), Text(reason))
    return table


def names_table(registry: Registry) -> Table:
    """Every API name: what serves it now, and what would if it were installed."""
    headings = ("API name", "served by", "better, if it were installed")
    table = Table(*headings, title="Names", title_justify="left")
    for name in registry.names:
        model = registry.resolve(name)
        preferences = registry.preferences(name)
        better = preferences[: preferences.index(model)] if model else preferences
        table.add_row(Text(name), model or "[red]nothing installed[/]", ", ".join(better))
    return table


def amount(size: int) -> str:
    """Bytes, in the unit that suits them."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
