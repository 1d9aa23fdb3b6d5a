"""The LoRAs that are installed: `NAME.safetensors` in one folder, and `NAME.yaml` for their base.

Knows names and files, not tensors: nothing heavy is imported, and no weight is read.
"""

import re
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, ValidationError
from pydantic.functional_validators import BeforeValidator

from pipelines.definitions import ModelId, Strict

FOLDER = "loras"
"""Of the folder of models: where LoRAs lie."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


LoraName = Annotated[str, Field(pattern=f"^{_NAME.pattern}$")]


def is_name(name: str) -> bool:
    """Whether a LoRA may be called so."""
    return _NAME.fullmatch(name) is not None


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


class _Beside(Strict):
    base: Annotated[frozenset[ModelId], BeforeValidator(_as_list)]


class LoraFiles:
    """The LoRAs of a folder, as they are there now."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def names(self) -> list[str]:
        """Every LoRA, by name."""
        return sorted(
            file.stem for file in self.folder.glob("*.safetensors") if self.path(file.stem)
        )

    def path(self, name: str) -> Path | None:
        """The file of a LoRA, or None if there is none of this name."""
        path = self.folder / f"{name}.safetensors"
        return path if is_name(name) and path.is_file() else None

    def bases(self, name: str) -> frozenset[str] | None:
        """The models that a LoRA says it was made for; None if it does not say, or not legibly."""
        try:
            said = yaml.safe_load((self.folder / f"{name}.yaml").read_text(encoding="utf-8"))
            return _Beside.model_validate(said).base
        except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError):
            return None

    def by_base(self) -> dict[str, list[str]]:
        """For each model, the LoRAs that were made for it."""
        found: dict[str, list[str]] = {}
        for name in self.names:
            for model in self.bases(name) or ():
                found.setdefault(model, []).append(name)
        return found
