"""What has weights and makes no image: what cuts out backgrounds, words prompts, and judges.

Knows where each of them is, and by which name it is pulled, carried and removed; what their keys
mean is known to `content` and `wording`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from pipelines.content import ContentPolicy, Which, content_policy, folder_of
from pipelines.definitions import Definition, Keys, entry_of, keys_of, read_entry, resolve_path
from pipelines.wording import REWRITER, LocalRewriter, Rewriter, rewriter_of

HUB = "hub:"
"""How a source begins that is a repository."""
MATTING = "matting"
"""The key of weights.yaml, and the folder for what it takes from the hub."""


@dataclass(frozen=True, slots=True)
class Other:
    """One of them."""

    source: str
    folder: Path
    """Where it is, or would be."""
    keys: Keys
    """What weights.yaml says of it."""

    @property
    def installed(self) -> bool:
        """Whether there is one in its folder."""
        return (self.folder / "config.json").is_file()


@dataclass(frozen=True, slots=True)
class Others:
    """All that is defined, whether or not it is installed."""

    policy: ContentPolicy
    """What is refused, and by what."""
    rewriter: Rewriter | None
    """What rewrites prompts."""
    by_name: Mapping[str, Other]


def others_of(beside: Mapping[str, Definition], models_dir: Path) -> Others:
    """What is defined beside models; raises RegistryError."""
    policy = content_policy(beside.get("policy"), models_dir)
    rewriter = rewriter_of(beside.get(REWRITER), models_dir)
    said = {key: definition.keys for key, definition in beside.items()}
    found = dict(_found(beside.get(MATTING), rewriter, policy, models_dir))
    by_name = {name: Other(*it, keys_of(name, said)) for name, it in found.items()}
    return Others(policy, rewriter, by_name)


def check_other(file: Path, name: str) -> None:
    """Raise RegistryError unless the entry that one of them has in its folder is usable."""
    entry = entry_of(name, read_entry(file, name))
    beside = {key: Definition(file, keys) for key, keys in entry.items()}
    others_of(beside, file.parent.parent)


def _found(
    matting: Definition | None, rewriter: Rewriter | None, policy: ContentPolicy, models_dir: Path
) -> Iterator[tuple[str, tuple[str, Path]]]:
    """(name, (source, folder)) of each."""
    if matting is not None:
        source = matting.keys["source"]
        beside = resolve_path(matting.file, source)
        yield MATTING, (source, models_dir / MATTING if source.startswith(HUB) else beside)
    if isinstance(rewriter, LocalRewriter):
        yield REWRITER, (rewriter.source, rewriter.folder)
    which: Which
    for which in get_args(Which):
        if (classifier := getattr(policy, which)) is not None:
            yield folder_of(which), (classifier.source, classifier.folder)
