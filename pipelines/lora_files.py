"""The LoRAs that are installed: `.safetensors` files below one folder, and a `.yaml` for the base.

A LoRA's name is its path in the folder, with `/`, without the suffix. Knows names and files, not
tensors: nothing heavy is imported, and no weight is read.
"""

import os
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import AfterValidator, Field, ValidationError
from pydantic.functional_validators import BeforeValidator

from pipelines.definitions import ModelId, Strict

FOLDER = "loras"
"""Of the folder of models: where LoRAs lie."""
SUFFIX = ".safetensors"

MAX_NAME_LENGTH = 200
_MAX_BYTES = 255
_PICKLED = frozenset({".ckpt", ".pt", ".pth", ".bin"})
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories that would garble a log, a header or a terminal: control characters, line
separators, invisible and undecodable ones."""
_JOINER = "\u200d"
"""Invisible, but part of many emoji."""


def name_problem(name: str) -> str | None:
    """Why a LoRA cannot be called so; None if it can.

    Any script, blanks and brackets are fine. Nothing leads out of the folder: each part between
    `/` must be a plain, visible file name.
    """
    if len(name) > MAX_NAME_LENGTH:
        return f"its name is longer than {MAX_NAME_LENGTH} characters"
    if any(unicodedata.category(it) in _UNSAFE and it != _JOINER for it in name):
        return "its name has control, invisible or undecodable characters"
    if "\\" in name or ":" in name:
        return "its name has a backslash or a colon"
    for part in name.split("/"):
        if len(f"{part}{SUFFIX}".encode()) > _MAX_BYTES:
            return f"its name is longer than {_MAX_BYTES} bytes, or that of its folder"
        if part.startswith("."):
            return "its name, or that of its folder, begins with a dot"
        if not part or part != part.strip():
            return "its name, or that of its folder, is empty or begins or ends with a blank"
    return None


def is_name(name: str) -> bool:
    """Whether a LoRA may be called so."""
    return name_problem(name) is None


def _checked(name: str) -> str:
    if (problem := name_problem(name)) is not None:
        raise ValueError(problem)
    return name


LoraName = Annotated[str, AfterValidator(_checked)]


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


class _Beside(Strict):
    base: Annotated[frozenset[ModelId], BeforeValidator(_as_list), Field()]


class LoraFiles:
    """The LoRAs of a folder, as they are there now."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def names(self) -> list[str]:
        """Every LoRA, by name."""
        found = (name.removesuffix(SUFFIX) for name in self._paths() if name.endswith(SUFFIX))
        return sorted(name for name in found if self.path(name))

    @property
    def skipped(self) -> dict[str, str]:
        """Files of the folder that look like LoRAs and are none, by path, and why."""
        problems = ((path, self._problem(path)) for path in sorted(self._paths()))
        return {printable(path): problem for path, problem in problems if problem is not None}

    def path(self, name: str) -> Path | None:
        """The file of a LoRA, or None if there is none of this name.

        Names are compared as Unicode means them, however the disk has composed their accents.
        """
        if not is_name(name):
            return None
        for form in (name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))):
            path = self.folder / f"{form}{SUFFIX}"
            with suppress(OSError):  # a link to itself, or a path that is too long
                if path.is_file():
                    return path
        return None

    def bases(self, name: str) -> frozenset[str] | None:
        """The models that a LoRA says it was made for; None if it does not say, or not legibly."""
        if (file := self.path(name)) is None:
            return None
        try:
            said = yaml.safe_load(_yaml_of(file).read_text(encoding="utf-8"))
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

    def _paths(self) -> Iterator[str]:
        """Every entry below the folder that is not in a hidden folder; links are followed once."""
        seen = set()
        for place, folders, files in os.walk(self.folder, followlinks=True):
            state = os.stat(place)
            if (state.st_dev, state.st_ino) in seen:
                folders.clear()
                continue
            seen.add((state.st_dev, state.st_ino))
            inside = Path(place).relative_to(self.folder)
            yield from ((inside / it).as_posix() for it in (*files, *folders))
            folders[:] = [it for it in folders if not it.startswith(".")]

    def _problem(self, path: str) -> str | None:
        """Why a file is no LoRA; None for a LoRA, and for what does not look like one."""
        file = self.folder / path
        name, suffix = os.path.splitext(path)
        if suffix == ".yaml":
            illegible = self.path(name) is not None and self.bases(name) is None
            return (
                "does not say `base: ID`: the LoRA is tried with any model" if illegible else None
            )
        if suffix.lower() in _PICKLED and file.is_file():
            return "is pickled, and would run code when it is read: only .safetensors are taken"
        if suffix.lower() != SUFFIX:
            return None
        if not file.is_file():
            return "is a folder" if file.is_dir() else "is a link to nothing"
        if suffix != SUFFIX:
            return f"must end in {SUFFIX}, in small letters"
        return name_problem(name)


def printable(path: str) -> str:
    """A path for a terminal or a log: what would garble it is escaped."""
    return "".join(
        it.encode("unicode_escape", "backslashreplace").decode("ascii")
        if unicodedata.category(it) in _UNSAFE
        else it
        for it in path
    )


def _yaml_of(file: Path) -> Path:
    return file.with_name(f"{file.name.removesuffix(SUFFIX)}.yaml")
