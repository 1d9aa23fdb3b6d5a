"""Which of a repository's files a diffusers pipeline needs, told by their names alone.

A repository often has the same weights five times over: pickled, in half precision, for other
frameworks, as one file at its root. One set of safetensors is enough.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from pipelines.weights.manifest import WeightsError

INDEX = "model_index.json"
PICKLED = frozenset({".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle", ".joblib"})
"""Formats that run code when they are read."""

_TEXTS = frozenset({".json", ".txt", ".model", ".jinja"})
_STEM = r"(?:diffusion_pytorch_model|model)"
_VARIANT = r"(?:\.(?P<variant>[A-Za-z0-9_]+))?"
_PART = r"-\d{5}-of-\d{5}"
_WHOLE_FILE = re.compile(rf"{_STEM}{_VARIANT}\.safetensors")
_PART_FILE = re.compile(
    rf"{_STEM}{_VARIANT}{_PART}\.safetensors|"
    rf"{_STEM}{_PART}\.(?P<late>[A-Za-z0-9_]+)\.safetensors"
)
_INDEX_FILE = re.compile(rf"{_STEM}\.safetensors\.index{_VARIANT}\.json")


def components(index: Mapping[str, object]) -> dict[str, tuple[str, str]]:
    """What model_index.json says a pipeline is made of: (library, class) by component."""
    return {
        name: (value[0], value[1])
        for name, value in index.items()
        if not name.startswith("_")
        and isinstance(value, list)
        and len(value) == 2
        and all(isinstance(part, str) for part in value)
    }


def needed(
    files: Iterable[str], index: Mapping[str, object], variant: str | None = None
) -> list[str]:
    """The files to have, of all that there are; `variant`, such as fp16, where there is one.

    Raises WeightsError for a component whose weights are there in pickled form only.
    """
    inside = defaultdict(list)
    for path in map(PurePosixPath, files):
        if len(path.parts) == 2:
            inside[path.parts[0]].append(path.name)
    return [INDEX] + [
        f"{component}/{name}"
        for component in components(index)
        for name in sorted(_of_component(component, inside[component], variant))
    ]


def needed_of_one(files: Iterable[str], variant: str | None = None) -> list[str]:
    """The same for a repository that holds a single model of transformers, at its root."""
    at_root = [path for path in files if "/" not in path]
    return sorted(_of_component("the model", at_root, variant))


def variant_of(folder: Path) -> str | None:
    """The variant that an installed model's weights are named by, for `from_pretrained`."""
    for component in sorted(folder.iterdir()):
        if component.is_dir():
            variants = _variants(file.name for file in component.iterdir())
            if variants and "" not in variants:
                return min(variants)
    return None


def component_variant(component: Path, variant: str | None) -> str | None:
    """The variant, if a component's folder has weights of it; else None."""
    names = [file.name for file in component.iterdir()]
    return variant if variant in _variants(names) else None


def _of_component(component: str, names: list[str], variant: str | None) -> list[str]:
    variants = _variants(names)
    if not variants and any(_is_pickled(name) for name in names):
        raise WeightsError(
            f"the weights of {component} are there in pickled form only, which runs code when it "
            "is read: only safetensors are taken"
        )
    chosen = variants.get(variant or "") or variants.get("") or variants.get("fp16")
    if chosen is None and variants:
        chosen = variants[min(variants)]
    return [*(name for name in names if _is_text(name)), *(chosen or [])]


def _variants(names: Iterable[str]) -> dict[str, list[str]]:
    """The weight files by variant, `""` being none: in parts with their index, or whole."""
    names = list(names)
    whole, parts, indices = (
        _by_variant(names, pattern) for pattern in (_WHOLE_FILE, _PART_FILE, _INDEX_FILE)
    )
    in_parts = {
        variant: [*indices[variant], *files]
        for variant, files in parts.items()
        if variant in indices
    }
    return whole | in_parts


def _by_variant(names: list[str], pattern: re.Pattern[str]) -> dict[str, list[str]]:
    found = defaultdict(list)
    for name in names:
        if match := pattern.fullmatch(name):
            groups = match.groupdict()
            found[groups["variant"] or groups.get("late") or ""].append(name)
    return dict(found)


def _is_text(name: str) -> bool:
    return PurePosixPath(name).suffix in _TEXTS and ".index." not in name


def _is_pickled(name: str) -> bool:
    return PurePosixPath(name).suffix in PICKLED
