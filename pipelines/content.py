"""The content policy of weights.yaml: what is refused, by which lists and which classifiers.

Knows files and the names of categories; not how a text or an image is judged.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from pipelines.core import Strictness
from pipelines.definitions import (
    Definition,
    RegistryError,
    Source,
    Strict,
    complaints,
    resolve_path,
)

Mode = Literal["off", "on", "strict"]
Category = Literal[
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
]
MODES: tuple[Mode, ...] = get_args(Mode)
CATEGORIES: tuple[Category, ...] = get_args(Category)
"""Those of the original's moderations."""

NSFW: Mapping[str, Category] = {"nsfw": "sexual"}
"""The only label of a safety checker, and what it means where nothing else is said."""

Which = Literal["prompts", "images"]
HUB = "hub:"
LISTS = "policy"
"""The folder of the lists that come along: of the repository, or of the wheel."""

_PACKAGE = Path(__file__).parent


def _word(value: object) -> object:
    """YAML reads a bare `on` and `off` as truth."""
    return {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value


class Thresholds(Strict):
    """The score from which on a label counts, 0 to 1, by strictness."""

    low: float = Field(default=0.8, gt=0, le=1)
    auto: float = Field(default=0.5, gt=0, le=1)
    strict: float = Field(default=0.3, gt=0, le=1)

    def of(self, strictness: Strictness) -> float:
        """The one of a strictness."""
        return {"low": self.low, "auto": self.auto, "strict": self.strict}[strictness]


class _Classifier(Strict):
    source: Source
    labels: dict[str, Category] = {}
    thresholds: Thresholds = Thresholds()

    @model_validator(mode="after")
    def _in_order(self) -> "_Classifier":
        if not self.thresholds.low >= self.thresholds.auto >= self.thresholds.strict:
            raise ValueError("thresholds: low must be the highest one, and strict the lowest")
        return self


class _Policy(Strict):
    mode: Annotated[Mode, BeforeValidator(_word)] = "on"
    terms: tuple[str, ...] | None = None
    prompts: _Classifier | None = None
    images: _Classifier | None = None


@dataclass(frozen=True, slots=True)
class Classifier:
    """A checkpoint that judges: where it is, or would be, and which of its labels count."""

    source: str
    folder: Path
    labels: Mapping[str, Category]
    thresholds: Thresholds = Thresholds()

    @property
    def pulled(self) -> bool:
        """Whether it comes from the hub."""
        return self.source.startswith(HUB)

    @property
    def fault(self) -> str | None:
        """Why it cannot be used, as far as its configuration tells."""
        if not (self.folder / "config.json").is_file():
            return f"{self.source} is not in {self.folder}"
        known = labels_of(self.folder)
        strange = [label for label in self.labels if label not in known]
        if strange or not (self.labels or is_safety_checker(self.folder)):
            told = f"there is no label '{strange[0]}'" if strange else "labels: none is named"
            return f"{told}; {self.source} has {', '.join(known) or 'none'}"
        return None


def usable(classifier: Classifier | None) -> Classifier | None:
    """A classifier if it can be used; a policy that is off may name one that is not there."""
    return classifier if classifier is not None and classifier.fault is None else None


@dataclass(frozen=True, slots=True)
class ContentPolicy:
    """What weights.yaml says of content. Without a word there, nothing is refused."""

    mode: Mode = "off"
    terms: tuple[Path, ...] = field(default_factory=lambda: (shipped_lists(),))
    """Files of terms, and folders of such files."""
    prompts: Classifier | None = None
    images: Classifier | None = None


def is_safety_checker(folder: Path) -> bool:
    """Whether it is the one that comes with Stable Diffusion."""
    return "StableDiffusionSafetyChecker" in (_config(folder).get("architectures") or ())


def labels_of(folder: Path) -> list[str]:
    """The names of a classifier's labels; none of one that cannot be read."""
    if is_safety_checker(folder):
        return list(NSFW)
    told = _config(folder).get("id2label")
    return [str(it) for it in told.values()] if isinstance(told, dict) else []


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def shipped_lists() -> Path:
    """The lists that come with darkroom."""
    packed = _PACKAGE / "shipped" / LISTS
    return packed if packed.is_dir() else _PACKAGE.parent / LISTS


def folder_of(which: Which) -> str:
    """The folder under `--models-dir`, and for `darkroom pull`, of a classifier from the hub."""
    return f"{LISTS}-{which}"


def content_policy(definition: Definition | None, models_dir: Path) -> ContentPolicy:
    """The policy that a file defines, its paths beside that file; raises RegistryError."""
    if definition is None:
        return ContentPolicy()
    file = definition.file
    try:
        said = _Policy.model_validate(definition.keys)
    except ValidationError as error:
        raise RegistryError("\n".join(complaints(file, error, "policy"))) from None
    listed = said.terms if said.terms is not None else (str(shipped_lists()),)
    return ContentPolicy(
        mode=said.mode,
        terms=tuple(resolve_path(file, each) for each in listed),
        prompts=_classifier("prompts", said.prompts, file, models_dir),
        images=_classifier("images", said.images, file, models_dir),
    )


def _classifier(
    which: Which, said: _Classifier | None, file: Path, models_dir: Path
) -> Classifier | None:
    if said is None:
        return None
    own = models_dir / folder_of(which)
    folder = own if said.source.startswith(HUB) else resolve_path(file, said.source)
    return Classifier(said.source, folder, said.labels, said.thresholds)
