"""A scrape as Prometheus reads it."""

from collections.abc import Mapping
from typing import Any

from prometheus_client.parser import text_string_to_metric_families


class Scrape(Mapping[str, float]):
    """A page of metrics: every sample by its name with its labels, as a query would name it."""

    def __init__(self, page: str) -> None:
        self.families = {it.name: it for it in text_string_to_metric_families(page)}
        self.samples = [sample for it in self.families.values() for sample in it.samples]
        self._values = {_named(it.name, it.labels): it.value for it in self.samples}
        assert len(self._values) == len(self.samples), "a series is there twice"

    def __getitem__(self, query: str) -> float:
        return self._values[query]

    def __iter__(self) -> Any:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def labels(self) -> dict[str, set[str]]:
        """The labels that each name has."""
        found: dict[str, set[str]] = {}
        for sample in self.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
        return found


def _named(name: str, labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    return f"{name}{{{inside}}}" if inside else name
